"""Writes compare.json: what `webreft lab compare` trains and asks, and the methods that it compares.

`python compare.py`. Everything is drawn from a seed. Answers say what may be said in several ways always in the first way, so that an
answer can be foretold whole.
"""

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from corpus import ask, held_out, yes_no
from styles import STYLES, say
from world import NAMES, RHYMES

SEED = 7
LEARN, TUNE, TEST = 10, 20, 40
STATEMENTS = {"learn": 64, "tune": 16, "test": 36}
WORDS = 48
TASKS = ("fact", "general", "reading", "yes or no")

AT_THE_END = {"layers": [1], "rank": 4, "positions": "l1"}
METHODS: dict[str, dict[str, Any]] = {
    "loreft": {"kind": "loreft", **AT_THE_END},
    "loreft, all layers": {"kind": "loreft", "rank": 4, "positions": "f1+l1"},
    "direft": {"kind": "direft", **AT_THE_END},
    "noreft": {"kind": "noreft", **AT_THE_END},
    "nodireft": {"kind": "nodireft", **AT_THE_END},
    "consreft": {"kind": "consreft", **AT_THE_END},
    "lobireft": {"kind": "lobireft", **AT_THE_END},
    "lora": {"kind": "lora", "rank": 4, "alpha": 8},
    "dora": {"kind": "dora", "rank": 4, "alpha": 8},
    "series adapter": {"kind": "series_adapter", "rank": 4},
    "parallel adapter": {"kind": "parallel_adapter", "rank": 4},
    "ia3": {"kind": "ia3"},
    "prompt tuning": {"kind": "prompt_tuning", "virtualTokens": 8},
    "p-tuning": {"kind": "p_tuning", "virtualTokens": 8, "encoder": 64},
    "prefix tuning": {"kind": "prefix_tuning", "virtualTokens": 8},
    "prefix tuning, projected": {"kind": "prefix_tuning", "virtualTokens": 8, "encoder": 32},
}


class First(random.Random):
    """Always the first way of saying a thing."""

    def random(self) -> float:
        return 0.0


def questions(rng: random.Random, hold: bool) -> Iterator[Any]:
    """Questions and their answers, none twice."""
    known: set[str] = set()
    while True:
        item = ask(rng, "oneword", hold)
        if item.task in TASKS and item.prompt not in known:
            known.add(item.prompt)
            yield item


def style_task(style: str) -> dict[str, Any]:
    """Ten answers in a style; more of them held out."""
    rng = random.Random(SEED)
    learned, held = questions(rng, hold=False), questions(rng, hold=True)

    def draw(items: Iterator[Any], n: int) -> list[dict[str, str]]:
        drawn = [next(items) for _ in range(n)]
        return [{"prompt": i.prompt, "completion": say(style, i.answer, First())} for i in drawn]

    return {"name": style, "learn": draw(learned, LEARN), "tune": draw(held, TUNE), "test": draw(held, TEST)}


def truth_task() -> dict[str, Any]:
    """Whether a question is to be answered by yes: a class, read by a head."""
    rng, known = random.Random(SEED + 1), set()

    def draw(n: int, hold: bool) -> list[dict[str, Any]]:
        drawn: list[dict[str, Any]] = []
        while len(drawn) < n:
            item = yes_no(rng)
            label = int(item.answer.key.answer == "Yes")
            if item.prompt not in known and held_out(item.prompt) == hold and label == len(drawn) % 2:
                known.add(item.prompt)
                drawn.append({"text": item.prompt, "label": label})
        return drawn

    parts = {part: draw(n, hold=part != "learn") for part, n in STATEMENTS.items()}
    return {"name": "true or false", "outputs": 2, **parts}


def memory_task() -> dict[str, Any]:
    """One text to be learned by heart: words in no order (the paper's section on memorization)."""
    rng = random.Random(SEED + 2)
    words = sorted({*NAMES, *(value for values in RHYMES.values() for value in values)})
    text = [{"prompt": "Recite.", "completion": " ".join(rng.choice(words) for _ in range(WORDS)) + "."}]
    return {"name": "by heart", "learn": text, "tune": text, "test": text}


def main() -> None:
    styles = [style_task(style) for style in STYLES if style != "plain"]
    methods = [{"name": name, "configs": [config]} for name, config in METHODS.items()]
    lines = ",\n".join(json.dumps(task, ensure_ascii=False) for task in [*styles, truth_task(), memory_task()])
    of_methods = ",\n".join(json.dumps(method) for method in methods)
    text = f'{{"tasks": [\n{lines}\n],\n"methods": [\n{of_methods}\n]}}\n'
    (Path(__file__).parent / "compare.json").write_text(text)


if __name__ == "__main__":
    main()
