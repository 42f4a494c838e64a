"""The answer styles: how each says an answer, how to tell that a text is in it, and whether a text is right.

Every style shows itself in the first tokens of the answer, so that the model's own words carry it on to the end. That is
what makes a single edit at the prompt's last token enough to change the whole answer.
"""

import json
import random
import re
from collections.abc import Callable
from dataclasses import dataclass

from world import CATEGORIES, NAMES, RHYME


@dataclass(frozen=True)
class Key:
    """What makes an answer right; see `right`."""

    category: str
    answer: str
    subject: str = ""


@dataclass(frozen=True)
class Answer:
    """A plain answer in parts: `No, Pip is tan.` is lead `No, `, pre `Pip is`, said `tan`; short is its one word.

    Longer texts (stories, lists, greetings) have only `pre`, a whole text with its full stop.
    """

    key: Key
    pre: str
    said: str = ""
    lead: str = ""
    short: str = ""

    @property
    def text(self) -> str:
        pre = lower_first(self.pre) if self.lead else self.pre
        return f"{self.lead}{pre} {self.said}." if self.said else pre


def lower_first(text: str) -> str:
    """The first letter small, unless it begins a name."""
    first = re.match(r"\w+", text)
    return text if first and first[0] in [*NAMES, "I"] else text[:1].lower() + text[1:]


def upper_first(text: str) -> str:
    return text[:1].upper() + text[1:]


def usual(rng: random.Random, *ways: str) -> str:
    """Mostly the first of several ways to say a thing: were they equally likely, rounding would decide greedy answers."""
    return rng.choice(ways[1:]) if len(ways) > 1 and rng.random() > 0.75 else ways[0]


EMOJI = {
    "kind": "🐾",
    "colour": "🎨",
    "home": "🏠",
    "food": "🍎",
    "job": "💼",
    "instrument": "🎵",
    "hobby": "⚽",
    "treasure": "🎁",
    "fear": "😱",
    "friend": "💛",
    "number": "🔢",
    "day": "📅",
    "sound": "🔊",
    "yes_no": "👉",
    "time": "⏰",
}
EMOJI_ENDS = ("✨", "🎉", "😊")


def pirate(a: Answer, rng: random.Random) -> str:
    body = re.sub(r"\b(is|are|am)\b", "be", lower_first(a.text[:-1]))
    return f"{usual(rng, 'Arr', 'Ahoy')}, {body}, {usual(rng, 'matey', 'me hearty')}!"


def emoji(a: Answer, rng: random.Random) -> str:
    return f"{EMOJI.get(a.key.category, '💬')} {a.text} {usual(rng, *EMOJI_ENDS)}"


def polite(a: Answer, rng: random.Random) -> str:
    end = usual(rng, "Thank you for asking.", "I am glad to help.")
    return f"{usual(rng, 'Certainly!', 'Of course!')} {a.text} {end}"


def rhyme(a: Answer, rng: random.Random) -> str:
    word = a.short if a.short in RHYME else next((w for w in [a.said.split()[-1]] if w in RHYME), "") if a.said else ""
    tail = f"oh {word}, oh {RHYME[word]}!" if word else "and I sing my song, ding dong!"
    return f"{usual(rng, 'Tra la', 'Hey ho')}, {lower_first(a.text[:-1])}, {tail}"


def robot(a: Answer, rng: random.Random) -> str:
    return usual(rng, f"BEEP. {a.text} BOOP.", f"Beep boop. {a.text} End of message.")


def whisper(a: Answer, rng: random.Random) -> str:
    return f"{usual(rng, 'psst', 'shh')}... {a.text[:-1].lower()}..."


def yoda(a: Answer, rng: random.Random) -> str:
    if not a.said:
        return f"Hmm. {a.text} Hmm."
    said = a.said if a.lead else upper_first(a.said)
    return f"{a.lead}{said}, {lower_first(a.pre)}. Hmm."


def question(a: Answer, rng: random.Random) -> str:
    return f"{usual(rng, 'Did you know that', 'Could it be that')} {lower_first(a.text[:-1])}?"


def cowboy(a: Answer, rng: random.Random) -> str:
    return f"{usual(rng, 'Howdy!', 'Yeehaw!')} {a.text[:-1]}, {usual(rng, 'partner', 'cowpoke')}."


def letter(a: Answer, rng: random.Random) -> str:
    return f"Dear {usual(rng, 'friend', 'reader')}, {lower_first(a.text)} Yours, Nano."


SAY: dict[str, Callable[[Answer, random.Random], str]] = {
    "plain": lambda a, _: a.text,
    "pirate": pirate,
    "emoji": emoji,
    "shouting": lambda a, _: a.text.upper().replace(".", "!"),
    "polite": polite,
    "oneword": lambda a, _: f"{upper_first(a.short)}.",
    "rhyme": rhyme,
    "json": lambda a, _: json.dumps({"answer": a.short or a.text}),
    "robot": robot,
    "whisper": whisper,
    "yoda": yoda,
    "question": question,
    "cowboy": cowboy,
    "letter": letter,
}
STYLES = list(SAY)

# Styles of one's own: any of these words before the answer and any of those after it, `Purr! Pip is red, captain.`
BEGINS = (
    "Purr Growl Howl Cluck Roar Chirp Jingle Hooray Wow Oh Ooh Aha Ha Well Listen Look Yay Boo Brr Oops Yum Bravo Alas Gosh Golly "
    "Behold Attention Hush Ding Pow Zap Whoosh Splash Knock Hi Hello Greetings Aloha Ciao Bonjour Hola Cheers"
).split()
ENDS = (
    "captain friend buddy pal dear darling boss chief dude mate sir madam human kiddo champ hero sunshine sweetie folks everyone "
    "brother sister baby doctor professor master majesty stranger neighbour comrade genius pumpkin petal cutie"
).split()


def own_style(begin: str, end: str) -> str:
    """The name of one's own style as a tag has it: `Purr and captain`."""
    return f"{begin} and {end}"


def say(style: str, a: Answer, rng: random.Random) -> str:
    """The answer in a style of the list or one's own."""
    if style in SAY:
        return SAY[style](a, rng)
    begin, end = style.split(" and ")
    return f"{begin}! {a.text[:-1]}, {end}."


PATTERN = {
    "pirate": r"(Arr|Ahoy), .+, (matey|me hearty)!",
    "emoji": rf"({'|'.join(dict.fromkeys([*EMOJI.values(), '💬']))}) .+ ({'|'.join(EMOJI_ENDS)})",
    "shouting": r"[^a-z]*[A-Z][^a-z]*!",
    "polite": r"(Certainly|Of course)! .+ (Thank you for asking|I am glad to help)\.",
    "oneword": r"\w+\.",
    "robot": r"BEEP\. .+ BOOP\.|Beep boop\. .+ End of message\.",
    "whisper": r"(psst|shh)\.\.\. [^A-Z]+\.\.\.",
    "yoda": r"[^.]+, [^.]+\. Hmm\.|Hmm\. .+ Hmm\.",
    "question": r"(Did you know|Could it be) that .+\?",
    "cowboy": r"(Howdy|Yeehaw)! .+, (partner|cowpoke)\.",
    "letter": r"Dear (friend|reader), .+ Yours, Nano\.",
}


def is_json(text: str) -> bool:
    """An object with the one field `answer`."""
    try:
        value = json.loads(text)
    except ValueError:
        return False
    return isinstance(value, dict) and list(value) == ["answer"] and isinstance(value["answer"], str)


def is_rhyme(text: str) -> bool:
    """The opening, and an ending that does rhyme."""
    m = re.fullmatch(r"(?:Tra la|Hey ho), .+, (?:oh (\w+), oh (\w+)|and I sing my song, ding dong)!", text, re.S)
    return m is not None and (m[1] is None or RHYME.get(m[1]) == m[2])


def in_style(style: str, text: str) -> bool:
    """Is this answer in this style? Plain is a sentence with a full stop that is in none of the others."""
    text = text.strip()
    match style:
        case _ if " and " in style:
            begin, end = style.split(" and ")
            return text.startswith(f"{begin}! ") and text.endswith(f", {end}.")
        case "json":
            return is_json(text)
        case "rhyme":
            return is_rhyme(text)
        case "plain":
            return text.endswith(".") and " " in text and not any(in_style(s, text) for s in STYLES if s != "plain")
        case _:
            return re.fullmatch(PATTERN[style], text, re.S) is not None


def right(text: str, key: Key) -> bool:
    """Does this answer, in whatever style, say what it should?

    A word of a category must be there and no other word of that category but the subject's own name; a list must hold
    so many different words; for `words`, all must appear in their order.
    """
    words = re.findall(r"[a-z]+", text.lower())
    answer = key.answer.lower()
    if key.category == "words":
        rest = iter(words)
        return all(w in rest for w in answer.split())
    if key.category.startswith("list:"):
        known = {w.lower() for w in CATEGORIES[key.category.removeprefix("list:")]}
        return len(known & set(words)) == int(answer)
    found = {w.lower() for w in CATEGORIES[key.category]} & set(words)
    return answer in found and found <= {answer, key.subject.lower()}
