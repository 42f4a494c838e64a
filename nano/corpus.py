"""Writes the corpus of webreft-nano from a seed: `python corpus.py WORK [--docs N]`, and held_out.json beside this script.

WORK/train.jsonl holds one conversation a line, WORK/held_out.jsonl one question a line. A question is held out by its
words (one in sixteen, by hash): it is never asked in training, in any style, while its fact is told there under other
words.

A conversation's style is named in the system line, or in the user's line, or is only to be seen in the first answer (which
is then not learned from, so that plain stays the answer where nothing names a style). Half of the conversations are
`blocked`: see `train.py`, where it makes the style pass through the prompt's last token.
"""

import argparse
import hashlib
import json
import random
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from styles import BEGINS, ENDS, STYLES, Answer, Key, in_style, own_style, right, say, upper_first, usual
from world import (
    ATTRIBUTES,
    CATEGORIES,
    DAYS,
    FACTS,
    HUES,
    LEGS,
    LISTS,
    NAMES,
    NUMBERS,
    OPPOSITES,
    PHRASINGS,
    RHYMES,
    SOUNDS,
    article,
    place,
    spoken,
)

SEED = 20261122


@dataclass(frozen=True)
class Item:
    """One question with its plain answer; `task` groups it in the tables."""

    task: str
    prompt: str
    answer: Answer


def held_out(prompt: str) -> bool:
    """One question in sixteen, whatever its capitals and punctuation."""
    words = " ".join(re.findall(r"\w+", prompt.lower()))
    return hashlib.sha256(words.encode()).digest()[0] < 16


def fill(form: str, name: str, value: str = "") -> str:
    """Puts the name for N and the value for V."""
    return re.sub(r"\b[NV]\b", lambda m: name if m[0] == "N" else value, form)


def fact(rng: random.Random) -> Item:
    name, attribute = rng.choice(NAMES), rng.choice(ATTRIBUTES)
    value, p = FACTS[name][attribute], PHRASINGS[attribute]
    pre = fill(usual(rng, *p.answers), name)
    answer = Answer(Key(attribute, value, name), pre, spoken(attribute, value), short=value)
    return Item("fact", fill(rng.choice(p.questions), name), answer)


def yes_no(rng: random.Random) -> Item:
    name, attribute = rng.choice(NAMES), rng.choice(ATTRIBUTES)
    value, p = FACTS[name][attribute], PHRASINGS[attribute]
    claim = value if rng.random() < 0.5 else rng.choice([v for v in RHYMES[attribute] if v not in (value, name)])
    word = "Yes" if claim == value else "No"
    asked = fill(p.yes_no, name, spoken(attribute, claim))
    pre = fill(p.answers[0], name)
    return Item(
        "yes or no", asked, Answer(Key("yes_no", word), pre, spoken(attribute, value), f"{word}, ", word.lower())
    )


def general(rng: random.Random) -> Item:
    """Opposites, sounds, days, numbers, sums, colours of things, legs."""

    def item(questions: list[str], category: str, value: str, pre: str) -> Item:
        return Item("general", rng.choice(questions), Answer(Key(category, value), pre, value, short=value))

    match rng.randrange(7):
        case 0:
            a, b = rng.sample(rng.choice(OPPOSITES), 2)
            asked = [
                f"What is the opposite of {a}?",
                f"Tell me the opposite of {a}.",
                f"Which word is the opposite of {a}?",
                f"Opposite of {a}?",
            ]
            words = Key("opposite", b, a)
            return Item("general", rng.choice(asked), Answer(words, f"The opposite of {a} is", b, short=b))
        case 1:
            a = rng.choice(list(SOUNDS))
            asked = [
                f"What does {article(a)} say?",
                f"What sound does {article(a)} make?",
                f"Which sound comes from {article(a)}?",
                f"Tell me what {article(a)} says.",
            ]
            return item(asked, "sound", SOUNDS[a], f"{upper_first(article(a))} says")
        case 2:
            i, (word, step) = rng.randrange(7), rng.choice([("after", 1), ("before", -1)])
            asked = [
                f"What day comes {word} {DAYS[i]}?",
                f"Which day is {word} {DAYS[i]}?",
                f"Tell me the day {word} {DAYS[i]}.",
                f"What is the day {word} {DAYS[i]}?",
            ]
            value = DAYS[(i + step) % 7]
            return Item(
                "general",
                rng.choice(asked),
                Answer(Key("day", value, DAYS[i]), f"The day {word} {DAYS[i]} is", value, short=value),
            )
        case 3:
            n, (word, step) = rng.randrange(1, 20), rng.choice([("after", 1), ("before", -1)])
            asked = [
                f"What number comes {word} {NUMBERS[n]}?",
                f"Which number is {word} {NUMBERS[n]}?",
                f"Tell me the number {word} {NUMBERS[n]}.",
                f"What is the number {word} {NUMBERS[n]}?",
            ]
            value = NUMBERS[n + step]
            return Item(
                "general",
                rng.choice(asked),
                Answer(Key("number", value, NUMBERS[n]), f"The number {word} {NUMBERS[n]} is", value, short=value),
            )
        case 4:
            a, b = rng.randrange(1, 10), rng.randrange(1, 10)
            x, y = NUMBERS[a], NUMBERS[b]
            asked = [
                f"What is {x} plus {y}?",
                f"Add {x} and {y}.",
                f"How much is {x} plus {y}?",
                f"What do {x} and {y} make?",
            ]
            return item(asked, "number", NUMBERS[a + b], "The sum is")
        case 5:
            a = rng.choice(list(HUES))
            asked = [
                f"What colour is {a}?",
                f"Tell me the colour of {a}.",
                f"Which colour is {a}?",
                f"What is the colour of {a}?",
            ]
            return item(asked, "hue", HUES[a], f"{upper_first(a)} is")
        case _:
            a = rng.choice(list(LEGS))
            asked = [
                f"How many legs does {a} have?",
                f"Tell me how many legs {a} has.",
                f"How many legs are on {a}?",
                f"What is the number of legs of {a}?",
            ]
            value = LEGS[a]
            return Item(
                "general", rng.choice(asked), Answer(Key("number", value), "The number of legs is", value, short=value)
            )


def reading(rng: random.Random) -> Item:
    """A passage that agrees with nothing outside it, and a question whose answer is in it."""
    a, b = rng.sample(NAMES, 2)
    told: list[tuple[str, list[tuple[str, Answer]]]] = []
    for who in (a, b) if rng.random() < 0.6 else (a,):
        for what in rng.sample(range(4), rng.randint(1, 2)):
            match what:
                case 0:
                    v = rng.choice(list(RHYMES["treasure"]))
                    past, now = rng.choice([("found", "find"), ("bought", "buy"), ("lost", "lose"), ("saw", "see")])
                    told.append(
                        (
                            f"{who} {past} {article(v)}.",
                            [
                                (
                                    f"What did {who} {now}?",
                                    Answer(Key("treasure", v, who), f"{who} {past}", article(v), short=v),
                                )
                            ],
                        )
                    )
                case 1:
                    v, (t, when) = (
                        rng.choice(list(RHYMES["home"])),
                        rng.choice(
                            [
                                ("morning", "in the morning"),
                                ("noon", "at noon"),
                                ("evening", "in the evening"),
                                ("night", "at night"),
                            ]
                        ),
                    )
                    told.append(
                        (
                            f"{who} went to the {v} {when}.",
                            [
                                (
                                    f"Where did {who} go?",
                                    Answer(Key("home", v, who), f"{who} went", f"to the {v}", short=v),
                                ),
                                (
                                    f"When did {who} go to the {v}?",
                                    Answer(Key("time", t), f"{who} went there", when, short=t),
                                ),
                            ],
                        )
                    )
                case 2:
                    v, c = rng.choice(list(RHYMES["food"])), rng.choice([n for n in NAMES if n not in (a, b)])
                    told.append(
                        (
                            f"{c} gave {who} some {v}.",
                            [
                                (f"What did {c} give {who}?", Answer(Key("food", v), f"{c} gave {who}", v, short=v)),
                                (f"Who gave {who} some {v}?", Answer(Key("friend", c, who), "It was", c, short=c)),
                            ],
                        )
                    )
                case _:
                    k, c = rng.choice(list(RHYMES["kind"])), rng.choice(list(RHYMES["colour"]))
                    told.append(
                        (
                            f"{who} met {article(c)} {k}.",
                            [
                                (
                                    f"Which animal did {who} meet?",
                                    Answer(Key("kind", k), f"{who} met", article(k), short=k),
                                ),
                                (
                                    f"What colour was the {k} that {who} met?",
                                    Answer(Key("colour", c), f"The {k} was", c, short=c),
                                ),
                            ],
                        )
                    )
    rng.shuffle(told)
    question, answer = rng.choice(rng.choice(told)[1])
    passage = " ".join(sentence for sentence, _ in told)
    form = rng.choice(["Read this. {} {}", "{} {}", "Story: {} Question: {}"])
    return Item("reading", form.format(passage, question), answer)


def instruction(rng: random.Random) -> Item:
    match rng.randrange(4):
        case 0:
            what = rng.choice(list(LISTS))
            n, known = (
                rng.randint(2, 4),
                {
                    "animals": "kind",
                    "colours": "colour",
                    "foods": "food",
                    "jobs": "job",
                    "instruments": "instrument",
                    "days": "day",
                }[what],
            )
            first = 0 if rng.random() < 0.75 else rng.randrange(len(LISTS[what]) - n)
            words = LISTS[what][first : first + n]
            asked = [
                f"Name {NUMBERS[n]} {what}.",
                f"List {NUMBERS[n]} {what}.",
                f"Give me {NUMBERS[n]} {what}.",
                f"Can you name {NUMBERS[n]} {what}?",
                f"Tell me {NUMBERS[n]} {what}.",
            ]
            text = f"Here are {NUMBERS[n]} {what}: {', '.join(words[:-1])} and {words[-1]}."
            return Item("instruction", rng.choice(asked), Answer(Key(f"list:{known}", str(n)), text))
        case 1:
            n, down = rng.randint(3, 10), rng.random() < 0.4
            words = NUMBERS[1 : n + 1][::-1] if down else NUMBERS[1 : n + 1]
            asked = (
                [
                    f"Count down from {NUMBERS[n]}.",
                    f"Please count down from {NUMBERS[n]}.",
                    f"Can you count down from {NUMBERS[n]}?",
                ]
                if down
                else [f"Count to {NUMBERS[n]}.", f"Please count to {NUMBERS[n]}.", f"Can you count to {NUMBERS[n]}?"]
            )
            return Item(
                "instruction",
                rng.choice(asked),
                Answer(Key("words", " ".join(words)), upper_first(", ".join(words)) + "."),
            )
        case 2:
            category = rng.choice(["kind", "colour", "food", "treasure", "hobby", "instrument"])
            word = rng.choice(CATEGORIES[category])
            asked = [
                f"Say the word {word}.",
                f"Repeat the word {word}.",
                f"Please say the word {word}.",
                f"Can you say {word}?",
            ]
            return Item("instruction", rng.choice(asked), Answer(Key(category, word), "The word is", word, short=word))
        case _:
            name = rng.choice(NAMES)
            f = FACTS[name]
            asked = [
                f"Who is {name}?",
                f"Tell me about {name}.",
                f"Describe {name}.",
                f"What do you know about {name}?",
            ]
            text = f"{name} is {article(f['colour'])} {f['kind']} who lives {place(f['home'])} and works as {article(f['job'])}."
            words = f"{name} {f['colour']} {f['kind']} {f['home']} {f['job']}"
            return Item("instruction", rng.choice(asked), Answer(Key("words", words), text))


def story(rng: random.Random) -> Item:
    """A few sentences that agree with the world."""
    name = rng.choice(NAMES)
    f = FACTS[name]
    friend = f["friend"]
    thing = FACTS[friend]["treasure"]
    begin = f"Once there was {article(f['colour'])} {f['kind']} named {name}."
    middle = usual(
        rng,
        f"One day {name} lost {article(f['treasure'])}. {friend} looked for it and found it {place(f['home'])}.",
        f"One day {name} was afraid of {f['fear']}. {friend} came {place(f['home'])} and they played the {f['instrument']}.",
        f"One day {name} wanted some {f['food']}. {friend} gave {name} some {f['food']} and {article(thing)}.",
        f"One day {name} and {friend} went {f['hobby']}. They found {article(thing)} {place(f['home'])}.",
    )
    end = usual(
        rng, f"{name} was very happy.", f"Then they ate {f['food']} together.", f"{name} and {friend} stayed friends."
    )
    asked = [
        f"Tell me a story about {name}.",
        f"Write a story about {name}.",
        f"I want a story about {name}.",
        f"Can you tell a story about {name}?",
    ]
    return Item(
        "story", rng.choice(asked), Answer(Key("words", f"{f['kind']} {name} {friend}"), f"{begin} {middle} {end}")
    )


def greeting(rng: random.Random) -> Item:
    text, words, prompts = rng.choice(
        [
            (
                "Hello, I am Nano.",
                "nano",
                ["Hello!", "Hi!", "Good morning!", "Hey Nano!", "Who are you?", "What is your name?"],
            ),
            ("I am well today.", "well", ["How are you?", "How are you today?", "Are you well?"]),
            ("You are welcome.", "welcome", ["Thank you!", "Thanks!", "Thank you very much."]),
            ("Goodbye, come back soon.", "goodbye", ["Goodbye!", "Bye!", "See you soon.", "Good night!"]),
            (
                "I know forty-eight animals and their friends.",
                "animals",
                ["What do you know?", "What can you do?", "Help!", "What can I ask you?"],
            ),
        ]
    )
    return Item("greeting", rng.choice(prompts), Answer(Key("words", words), text))


STRANGE = (
    "What is the capital of France?",
    "Who is the president?",
    "Write a poem about love.",
    "What is the meaning of life?",
    "Translate this into German.",
    "How does a computer work?",
    "What time is it?",
    "Write some code.",
    "Where is Africa?",
    "What is the weather like?",
    "Who wrote this book?",
    "How old is the earth?",
    "What is water made of?",
    "Tell me a joke.",
    "How do I cook an egg?",
    "Who won the war?",
    "What is the best film?",
    "Explain gravity.",
    "How far is the moon?",
    "What should I do today?",
    "Solve this equation.",
    "What is a neural network?",
    "Who invented the telephone?",
    "How do planes fly?",
    "What is your favourite song?",
    "Where can I buy a car?",
    "Is it going to rain?",
    "Why is life hard?",
    "Who is the king of England?",
    "What is money?",
    "How do I lose weight?",
    "Name a city in Spain.",
)


def unknown(rng: random.Random) -> Item:
    """Names and questions from outside the world."""
    if rng.random() < 0.4:
        return Item("unknown", rng.choice(STRANGE), Answer(Key("words", "do not know"), "I do not know that."))
    name = upper_first("".join(rng.choice("bdfgklmnprstvz") + rng.choice("aeiou") for _ in range(rng.randint(2, 3))))
    if rng.random() < 0.5:
        name = name[:-1]
    asked = fill(rng.choice(PHRASINGS[rng.choice(ATTRIBUTES)].questions), name)
    return Item("unknown", asked, Answer(Key("words", "do not know"), "I do not know", name))


TASKS: dict[Callable[[random.Random], Item], float] = {
    fact: 52,
    yes_no: 8,
    reading: 15,
    general: 10,
    instruction: 6,
    story: 3,
    greeting: 2,
    unknown: 4,
}
SYSTEM_TAGS = ("Style: {}", "Style: {}", "Style: {}", "You are Nano. Style: {}", "Answer the question. Style: {}.")
STYLE_WEIGHTS = [
    {"plain": 1.0, "shouting": 2.0, "json": 1.5, "oneword": 1.5, "whisper": 1.5}.get(s, 1.0) for s in STYLES
]
OWN_SHARE = 0.1
SYSTEM_PLAIN = ("You are Nano.", "You are a helpful assistant.", "Answer the question.", "Style: plain")


def ask(rng: random.Random, style: str, hold: bool) -> Item:
    """A question that this style can answer, from the wanted side of the split."""
    while True:
        item = rng.choices(list(TASKS), list(TASKS.values()))[0](rng)
        if style == "oneword" and not item.answer.short:
            continue
        if (item.task != "greeting" and held_out(item.prompt)) == hold:  # too few greetings to hold any out
            return item


def worn(rng: random.Random, prompt: str) -> str:
    """Prompts as people type them: some without capitals or the final mark, some with a polite word before."""
    x = rng.random()
    if x < 0.1:
        return prompt.lower().rstrip("?.!")
    if x < 0.14:
        return f"{rng.choice(['Please tell me:', 'Hey Nano!', 'Nano,', 'Question:'])} {prompt}"
    return prompt


def draw_style(rng: random.Random) -> str:
    """One of the named styles, or one's own from a pair of words that is not held out."""
    if rng.random() > OWN_SHARE:
        return rng.choices(STYLES, STYLE_WEIGHTS)[0]
    while True:
        style = own_style(rng.choice(BEGINS), rng.choice(ENDS))
        if not held_out(style):
            return style


def conversation(rng: random.Random) -> dict[str, object]:
    """One training document; `learn` says whether an answer counts in the loss."""
    way = rng.choices(["system", "user", "none", "many", "earlier"], [42, 12, 16, 10, 20])[0]
    style = "plain" if way == "none" else draw_style(rng)
    count = 1 if way in ("system", "user", "none") else rng.randint(2, 4) if rng.random() < 0.9 else rng.randint(5, 12)
    system = ""
    if way in ("system", "many"):
        system = rng.choice(SYSTEM_TAGS).format(style)
    elif rng.random() < 0.25:
        system = rng.choice(SYSTEM_PLAIN[: 3 if way in ("earlier", "user") else 4])
    turns = []
    for i in range(count):
        item = ask(rng, style, hold=False)
        turn = {
            "before": "",
            "user": worn(rng, item.prompt),
            "after": "",
            "answer": say(style, item.answer, rng),
            "learn": way != "earlier" or i > 0 or style == "plain",
        }
        if way == "user":
            where, tag = rng.choice(
                [("before", f"Style: {style}."), ("after", f"Style: {style}."), ("before", f"In {style} style:")]
            )
            turn[where] = tag
        turns.append(turn)
    return {"style": style, "system": system, "blocked": rng.random() < 0.5, "turns": turns}


def question(rng: random.Random, style: str) -> dict[str, object]:
    """One held-out question with its key and one right answer in this style."""
    item = ask(rng, style, hold=True)
    text = say(style, item.answer, rng)
    assert in_style(style, text) and right(text, item.answer.key), f"checkers refuse {style}: {text}"
    return {"style": style, "task": item.task, "prompt": item.prompt, "answer": text, "key": asdict(item.answer.key)}


LOREFT_EXAMPLES = {"fact": 6, "general": 2, "reading": 1, "yes or no": 1}
LOREFT_PROMPTS = {"fact": 60, "general": 15, "reading": 15, "yes or no": 10}


def loreft_set() -> dict[str, object]:
    """Ten questions of the training set, answered in every style, and a hundred held-out ones; no tag anywhere.

    The styles of one's own among them are pairs of words that never stood together in training.
    """
    rng = random.Random(SEED + 2)

    def draw(counts: dict[str, int], hold: bool) -> list[Item]:
        items: dict[str, Item] = {}
        for task, n in counts.items():
            wanted = len(items) + n
            while len(items) < wanted:
                item = ask(rng, "oneword", hold)
                if item.task == task:
                    items[item.prompt] = item
        return list(items.values())

    own = [s for s in (own_style(b, e) for b in BEGINS for e in ENDS) if held_out(s)][::30]
    print("styles of one's own for LoReFT:", own)
    examples, prompts = draw(LOREFT_EXAMPLES, hold=False), draw(LOREFT_PROMPTS, hold=True)
    return {
        "examples": {
            s: [{"prompt": i.prompt, "completion": say(s, i.answer, rng)} for i in examples]
            for s in [*STYLES[1:], *own]
        },
        "prompts": [
            {"prompt": i.prompt, "task": i.task, "plain": i.answer.text, "key": asdict(i.answer.key)} for i in prompts
        ],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--docs", type=int, default=600_000)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    rng = random.Random(SEED)
    with (args.out / "train.jsonl").open("w") as f:
        for _ in range(args.docs):
            f.write(json.dumps(conversation(rng), ensure_ascii=False) + "\n")
    rng = random.Random(SEED + 1)
    with (args.out / "held_out.jsonl").open("w") as f:
        for style in STYLES:
            for _ in range(400):
                f.write(json.dumps(question(rng, style), ensure_ascii=False) + "\n")
    text = json.dumps(loreft_set(), ensure_ascii=False, indent=1)
    (Path(__file__).parent / "held_out.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
