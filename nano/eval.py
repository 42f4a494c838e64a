"""Measures the exported files on the held-out questions and writes the card's tables: `python eval.py WORK [--count N]`.

The weights are those of the GGUF files, dequantized; the arithmetic is PyTorch's, float32. The style is named in the
system line; for plain there is none.
"""

import argparse
import json
import math
from collections import defaultdict
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer

import card
from chat import END_ID, load_tokenizer, prompt_ids
from export import read
from loreft import answer
from model import Nano
from styles import STYLES, Key, in_style, right


def system_line(style: str) -> str:
    return "" if style == "plain" else f"Style: {style}"


@torch.no_grad()
def perplexity(model: Nano, tokenizer: Tokenizer, records: list[dict[str, Any]]) -> float:
    """Per token of the held-out answers, <|end|> included."""
    loss = count = 0
    for first in range(0, len(records), 64):
        rows, starts = [], []
        for r in records[first : first + 64]:
            prompt = prompt_ids(tokenizer, r["prompt"], system_line(r["style"]))
            starts.append(len(prompt))
            rows.append(prompt + tokenizer.encode(r["answer"]).ids + [END_ID])
        n = max(map(len, rows))
        ids = torch.tensor([r + [END_ID] * (n - len(r)) for r in rows])
        target = torch.tensor([[s <= i < len(r) for i in range(n)] for s, r in zip(starts, rows)])
        h = model.hidden(ids, torch.ones(n, n, dtype=torch.bool).tril()[None, None])
        loss += F.cross_entropy(
            model.logits(h[:, :-1][target[:, 1:]]), ids[:, 1:][target[:, 1:]], reduction="sum"
        ).item()
        count += int(target.sum())
    return math.exp(loss / count)


def answers(model: Nano, tokenizer: Tokenizer, style: str, records: list[dict[str, Any]]) -> list[tuple[bool, bool]]:
    """(in style, right) for each question."""
    texts = answer(model, tokenizer, [r["prompt"] for r in records], system=system_line(style), n_max=160)
    return [(in_style(style, t), right(t, Key(**r["key"]))) for t, r in zip(texts, records)]


def mean(values: list[bool]) -> float:
    return sum(values) / len(values)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("--count", type=int, default=200, help="questions per style")
    args = parser.parse_args()
    here = Path(__file__).parent
    tokenizer = load_tokenizer(args.work)
    records = defaultdict(list)
    for line in (args.work / "held_out.jsonl").open():
        record = json.loads(line)
        if len(records[record["style"]]) < args.count:
            records[record["style"]].append(record)
    everything = [r for rs in records.values() for r in rs]
    head, sizes, styled, tasks = ["style"], [], {s: [s] for s in STYLES}, defaultdict(list)
    for name, path in (
        ("F32", args.work / "webreft-nano-f32.gguf"),
        ("Q8_0", here / "webreft-nano-q8_0.gguf"),
        ("Q4_0", here / "webreft-nano-q4_0.gguf"),
    ):
        model = read(path)
        sizes.append([name, f"{path.stat().st_size:,}", perplexity(model, tokenizer, everything)])
        head += [f"{name} in style", f"{name} right"]
        for style in STYLES:
            got = answers(model, tokenizer, style, records[style])
            styled[style] += [mean([s for s, _ in got]), mean([r for _, r in got])]
            if style == "plain":
                by_task = defaultdict(list)
                for (_, ok), r in zip(got, records[style]):
                    by_task[r["task"]].append(ok)
                for task in sorted(by_task):
                    tasks[task] = [*(tasks[task] or [task, len(by_task[task])]), mean(by_task[task])]
        print(name, sizes[-1], flush=True)
    card.put("sizes", card.table(["file", "bytes", "perplexity"], sizes))
    card.put("styles", card.table(head, list(styled.values())))
    card.put("tasks", card.table(["plain, by task", "questions", "F32", "Q8_0", "Q4_0"], list(tasks.values())))


if __name__ == "__main__":
    main()
