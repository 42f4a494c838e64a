"""Trains LoReFT on ten tagless examples of each style, with the engine's command line, and writes the card's table.

`python measure_loreft.py --webreft PATH_TO_BINARY [--seeds 3] [--styles pirate,json] [--file webreft-nano-q8_0.gguf]`; with
`--torch WORK` the same by `loreft.py` in PyTorch on the dequantized weights.
"""

import argparse
import json
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import card
import loreft
from chat import load_tokenizer
from export import read
from styles import Key, in_style, right

HERE = Path(__file__).parent
Examples = list[dict[str, str]]
Answerer = Callable[[Examples, list[str], int], list[str]]


@dataclass(frozen=True)
class Settings:
    """What the demo page proposes too."""

    layers: tuple[int, ...] = (1,)
    rank: int = 4
    positions: str = "l1"
    epochs: int = 40
    learning_rate: float = 1e-2


def by_command(webreft: Path, model: Path, s: Settings) -> Answerer:
    """Answers from the native engine, trained on the examples from a seed if there are any."""

    def run(examples: Examples, prompts: list[str], seed: int) -> list[str]:
        with tempfile.TemporaryDirectory() as folder:
            at = Path(folder)
            ask = [
                webreft,
                "generate",
                "--json",
                "--model",
                model,
                "--prompts",
                at / "p.jsonl",
                "--max-tokens",
                "64",
                "--temperature",
                "0",
            ]
            (at / "p.jsonl").write_text("".join(json.dumps({"prompt": p}) + "\n" for p in prompts))
            if examples:
                (at / "ex.jsonl").write_text("".join(json.dumps(e) + "\n" for e in examples))
                subprocess.run(
                    [
                        webreft,
                        "train",
                        "--model",
                        model,
                        "--examples",
                        at / "ex.jsonl",
                        "--layers",
                        ",".join(map(str, s.layers)),
                        "--rank",
                        str(s.rank),
                        "--positions",
                        s.positions,
                        "--epochs",
                        str(s.epochs),
                        "--learning-rate",
                        str(s.learning_rate),
                        "--seed",
                        str(seed),
                        "--save",
                        at / "out.safetensors",
                    ],
                    check=True,
                    stdout=subprocess.DEVNULL,
                )
                ask += ["--reft", at / "out.safetensors"]
            lines = subprocess.run(ask, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
        texts = {r["prompt"]: r["text"] for r in map(json.loads, lines)}
        return [texts[p] for p in prompts]

    return run


def by_torch(work: Path, path: Path, s: Settings) -> Answerer:
    """The same in PyTorch."""
    model, tokenizer = read(path), load_tokenizer(work)

    def run(examples: Examples, prompts: list[str], seed: int) -> list[str]:
        trained = (
            loreft.train(
                model, tokenizer, examples, list(s.layers), s.rank, s.positions, s.epochs, s.learning_rate, seed
            )
            if examples
            else None
        )
        return loreft.answer(model, tokenizer, prompts, trained, s.positions)

    return run


def measure(answer: Answerer, styles: list[str], n_seeds: int) -> list[list[object]]:
    """Rows of style, share in style, share right; the first is the untouched model."""
    data = json.loads((HERE / "held_out.json").read_text())
    prompts, keys = [p["prompt"] for p in data["prompts"]], [Key(**p["key"]) for p in data["prompts"]]

    def shares(style: str, examples: Examples, seed: int) -> tuple[float, float]:
        texts = answer(examples, prompts, seed)
        shared = (sum(in_style(style, t) for t in texts), sum(map(right, texts, keys)))
        print(style, "seed", seed, *shared, texts[0], flush=True)
        return shared[0] / len(texts), shared[1] / len(texts)

    rows: list[list[object]] = [["plain (no edit)", *shares("plain", [], 0)]]
    for style in styles or data["examples"]:
        of_seeds = [shares(style, data["examples"][style], seed) for seed in range(n_seeds)]
        rows.append([style, *map(spread, zip(*of_seeds))])
    return rows


def spread(shares: tuple[float, ...]) -> str:
    """The mean, and between what the seeds lie."""
    mean, low, high = (100 * x for x in (sum(shares) / len(shares), min(shares), max(shares)))
    return f"{mean:.1f} %" if low == high else f"{mean:.1f} % ({low:.0f} to {high:.0f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--webreft", type=Path)
    parser.add_argument("--torch", type=Path)
    parser.add_argument("--file", default="webreft-nano-q8_0.gguf")
    parser.add_argument("--seeds", type=int, default=3, help="how many, from 0: each style is trained once with each")
    parser.add_argument("--styles", default="", help="separated by commas; all that have examples if not given")
    args = parser.parse_args()
    s, path = Settings(), HERE / args.file
    answer = by_torch(args.torch, path, s) if args.torch else by_command(args.webreft, path, s)
    rows = measure(answer, [s for s in args.styles.split(",") if s], args.seeds)
    seeds = "seed 0" if args.seeds == 1 else f"mean of {args.seeds} seeds (lowest to highest)"
    settings = (
        f"Rank {s.rank}, layers {', '.join(map(str, s.layers))} (counted from 0), positions `{s.positions}`, {s.epochs} epochs "
        f"of one step, learning rate {s.learning_rate}, {seeds}, on `{args.file}`."
    )
    card.put(
        "loreft-torch" if args.torch else "loreft", settings + "\n\n" + card.table(["style", "in style", "right"], rows)
    )


if __name__ == "__main__":
    main()
