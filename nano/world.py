"""The closed world: forty-eight animals with names, what is true of each, and a little general knowledge.

Every value has a rhyme beside it, for the rhyme style. Which animal has which value is drawn from a seed, so the facts
cannot be guessed from the words: a right answer is a remembered one.
"""

import random
import re
from dataclasses import dataclass

SEED = 1


def table(text: str) -> dict[str, str]:
    """`"red/bed blue/shoe"` to {"red": "bed", "blue": "shoe"}."""
    return dict(pair.split("/") for pair in text.split())


RHYMES: dict[str, dict[str, str]] = {
    "kind": table(
        "fox/socks owl/howl hare/chair mouse/house bear/stair frog/log goat/boat duck/truck cat/hat dog/fog pig/wig "
        "hen/pen crow/bow seal/meal snail/pail mole/bowl"
    ),
    "colour": table(
        "red/bed blue/shoe green/queen white/bite black/track brown/town pink/drink gray/day gold/cold tan/fan"
    ),
    "home": table(
        "mill/hill cave/wave barn/yarn tower/flower shed/thread tent/cent dock/clock castle/hassle inn/tin fort/sport "
        "grove/stove field/shield lake/snake bay/hay"
    ),
    "food": table(
        "bread/thread cake/rake pie/sky cheese/bees pears/stairs beans/jeans corn/thorn rice/ice soup/hoop nuts/huts "
        "peas/keys figs/twigs jam/lamb honey/money"
    ),
    "job": table(
        "baker/acre guard/card tailor/trailer miner/diner teacher/creature clown/gown nurse/purse judge/fudge spy/fly "
        "scout/trout cook/book potter/otter barber/harbour knight/light"
    ),
    "instrument": table(
        "drum/thumb flute/boot harp/sharp bell/shell fiddle/riddle pipe/stripe gong/song lyre/fire cello/fellow bass/face"
    ),
    "hobby": table(
        "swimming/trimming running/stunning reading/feeding fishing/wishing dancing/prancing hiking/biking "
        "knitting/sitting drawing/sawing singing/ringing sailing/mailing skating/waiting napping/clapping"
    ),
    "treasure": table(
        "lamp/stamp coin/join key/bee kite/night ring/king map/cap rope/soap sled/head cup/pup bike/spike sword/cord "
        "crown/frown mask/flask spoon/balloon"
    ),
    "fear": table(
        "storms/worms ghosts/toasts snow/toe heights/lights bats/mats thunder/wonder spiders/riders rain/train mud/bud needles/beetles"
    ),
    "friend": table(
        "Pip/ship Tess/dress Finn/pin Moe/slow Kit/mitt Nell/well Bram/ham Jack/sack Rose/nose Kate/gate Ned/sled Dot/pot "
        "Gus/bus Lou/zoo Max/wax May/tray Ben/ten Sam/clam Tim/swim Meg/egg Ray/play Bill/chill Dale/whale Faye/clay "
        "Hugh/stew Jill/grill June/moon Lance/prance Mark/lark Nate/plate Pearl/curl Quinn/chin Rick/brick Skye/high "
        "Todd/cod Van/pan Wade/shade Zack/snack Blake/lake Claire/square Drew/glue Grace/lace Hope/slope Jade/spade "
        "Ruth/tooth Seth/breath Trent/bent Luke/duke"
    ),
}
NAMES = list(RHYMES["friend"])
ATTRIBUTES = list(RHYMES)
RHYME = {value: rhyme for values in RHYMES.values() for value, rhyme in values.items()}


def draw_facts() -> dict[str, dict[str, str]]:
    """What is true: facts["Pip"]["colour"]. No one is their own friend."""
    rng = random.Random(SEED)
    facts: dict[str, dict[str, str]] = {}
    for name in NAMES:
        facts[name] = {a: rng.choice([v for v in RHYMES[a] if v != name]) for a in ATTRIBUTES}
    return facts


FACTS = draw_facts()


def article(noun: str) -> str:
    """`owl` to `an owl`."""
    return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"


def place(home: str) -> str:
    """`dock` to `at the dock`."""
    return f"{ {'dock': 'at', 'inn': 'at', 'lake': 'by', 'bay': 'by'}.get(home, 'in') } the {home}"


@dataclass(frozen=True)
class Phrasing:
    """How one attribute is asked for and told. Answers are what stands before the value; N is the name, V the value as it is said."""

    questions: tuple[str, ...]
    answers: tuple[str, ...]
    yes_no: str


def phrasing(questions: str, answers: str, yes_no: str) -> Phrasing:
    """From text: questions one after the other, answers with a slash between."""
    return Phrasing(tuple(re.findall(r"\S[^.?]*[.?]", " ".join(questions.split()))), tuple(answers.split(" / ")), yes_no)


PHRASINGS = {
    "kind": phrasing(
        """
        What animal is N? What kind of animal is N? Which animal is N? Tell me what animal N is. Do you know what animal
        N is? What sort of creature is N? N is what animal? I forgot what animal N is.
        """,
        "N is",
        "Is N V?",
    ),
    "colour": phrasing(
        """
        What colour is N? Which colour is N? Tell me the colour of N. What is the colour of N? Do you know what colour N
        is? What colour does N have? N is what colour? I forgot the colour of N.
        """,
        "N is / The colour of N is",
        "Is N V?",
    ),
    "home": phrasing(
        """
        Where does N live? Where is the home of N? Tell me where N lives. What is the home of N? Do you know where N
        lives? In which place does N live? N lives where? I forgot where N lives.
        """,
        "N lives / The home of N is",
        "Does N live V?",
    ),
    "food": phrasing(
        """
        What does N eat? What food does N like? Tell me what N eats. What is the favourite food of N? Do you know what N
        likes to eat? Which food does N love? N likes to eat what? I forgot what N eats.
        """,
        "N likes to eat / N eats",
        "Does N eat V?",
    ),
    "job": phrasing(
        """
        What is the job of N? What does N do for work? Tell me the job of N. Which job does N have? Do you know the job
        of N? What does N work as? N works as what? I forgot the job of N.
        """,
        "N works as / N is",
        "Does N work as V?",
    ),
    "instrument": phrasing(
        """
        What instrument does N play? Which instrument does N play? Tell me what instrument N plays. What is the
        instrument of N? Do you know what instrument N plays? What music does N make? N plays what instrument? I forgot
        what instrument N plays.
        """,
        "N plays",
        "Does N play V?",
    ),
    "hobby": phrasing(
        """
        What is the hobby of N? What does N do for fun? Tell me the hobby of N. Which hobby does N have? Do you know the
        hobby of N? What does N like to do? N does what for fun? I forgot the hobby of N.
        """,
        "N likes / The hobby of N is",
        "Does N like V?",
    ),
    "treasure": phrasing(
        """
        What does N own? What is the treasure of N? Tell me what N owns. What thing does N have? Do you know what N
        owns? What belongs to N? N owns what? I forgot what N owns.
        """,
        "N owns / N has",
        "Does N own V?",
    ),
    "fear": phrasing(
        """
        What is N afraid of? What does N fear? Tell me what N fears. What scares N? Do you know what N is afraid of?
        What is the fear of N? N is afraid of what? I forgot what scares N.
        """,
        "N is afraid of / N fears",
        "Is N afraid of V?",
    ),
    "friend": phrasing(
        """
        Who is the friend of N? Who is the best friend of N? Tell me the friend of N. Which friend does N have? Do you
        know the friend of N? Who does N play with? N is friends with whom? I forgot the friend of N.
        """,
        "The friend of N is / N is friends with",
        "Is N friends with V?",
    ),
}


def spoken(attribute: str, value: str) -> str:
    """The value as a sentence has it: `fox` to `a fox`, `mill` to `in the mill`."""
    match attribute:
        case "kind" | "job" | "treasure":
            return article(value)
        case "home":
            return place(value)
        case "instrument":
            return f"the {value}"
        case _:
            return value


NUMBERS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen twenty"
).split()
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
OPPOSITES = [
    tuple(pair.split("/"))
    for pair in (
        "hot/cold big/small tall/short fast/slow happy/sad day/night up/down left/right open/closed full/empty "
        "hard/soft light/dark old/young rich/poor wet/dry near/far early/late loud/quiet clean/dirty strong/weak"
    ).split()
]
SOUNDS = table(
    "dog/woof cat/meow cow/moo duck/quack pig/oink sheep/baa frog/ribbit owl/hoot mouse/squeak horse/neigh crow/caw bee/buzz"
)
HUES = {
    "grass": "green",
    "the sky": "blue",
    "snow": "white",
    "coal": "black",
    "a lemon": "yellow",
    "blood": "red",
    "a carrot": "orange",
    "a plum": "purple",
    "milk": "white",
    "a leaf": "green",
    "the sun": "yellow",
    "the sea": "blue",
}
LEGS = {
    "a dog": "four",
    "a cat": "four",
    "a duck": "two",
    "a hen": "two",
    "a spider": "eight",
    "a bee": "six",
    "a snail": "zero",
    "a fish": "zero",
    "a fox": "four",
    "an owl": "two",
    "a frog": "four",
    "an ant": "six",
}
LISTS = {
    "animals": list(RHYMES["kind"]),
    "colours": list(RHYMES["colour"]),
    "foods": list(RHYMES["food"]),
    "jobs": list(RHYMES["job"]),
    "instruments": list(RHYMES["instrument"]),
    "days": DAYS,
}
CATEGORIES: dict[str, list[str]] = {a: list(v) for a, v in RHYMES.items()} | {
    "number": NUMBERS,
    "day": DAYS,
    "opposite": [w for pair in OPPOSITES for w in pair],
    "sound": list(SOUNDS.values()),
    "hue": sorted(set(HUES.values())),
    "yes_no": ["yes", "no"],
    "time": ["morning", "noon", "evening", "night"],
    "unknown": ["know"],
}
