"""Trains webreft-nano on the corpus: `python train.py WORK --steps N`; running it again goes on from the last checkpoint.

WORK holds what corpus.py wrote and receives tokenizer.json, tokens.npz and checkpoints. Matrices are trained by Muon,
embeddings and norms by AdamW, under bfloat16 autocast; only answers count in the loss. The learning rate is constant
and falls to zero over the last `--decay` steps. Running again with more steps takes `last.pt` up, at the full rate again.

**Blocked conversations.** In half of the corpus the tokens of a question and its answer cannot look at what names the style
(the system line, a tag in the user's line, earlier turns); only the token <|assistant|>, the last of the prompt, can. It
must therefore gather the style, and the answer must read it there. This is what makes the model steerable by an edit of
that one token, and it is no difference to inference, where everything is visible.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from chat import ASSISTANT_ID, BOS_ID, END_ID, SYSTEM_ID, USER_ID, learn_tokenizer, load_tokenizer, pieces
from model import Config, Nano

SEED = 7
ROWS_TOKENS = 4096
ROW_LENGTHS = (256, 512)
BOS_TURN, TAG_TURN = 255, 100


def encode_corpus(work: Path, n_vocab: int) -> None:
    """Learns the tokenizer and writes every conversation as ids, with what the mask and the loss need for each token.

    turn: 0 the system line, t the t-th turn, 100 + t a tag in its user line, 255 <|bos|>. learn: this token is a target.
    """
    documents = [json.loads(line) for line in (work / "train.jsonl").open()]
    tokenizer = learn_tokenizer((p for d in documents[:60_000] for p in pieces(d)), n_vocab)
    tokenizer.save(str(work / "tokenizer.json"))
    ids, turns, learn, lengths, blocked = [], [], [], [], []
    for first in range(0, len(documents), 20_000):
        group = documents[first : first + 20_000]
        texts = [t for d in group for t in [d["system"], *(x for u in d["turns"] for x in segments(u))]]
        encoded = iter([e.ids for e in tokenizer.encode_batch(texts)])
        for d in group:
            row: list[tuple[int, int, bool]] = [(BOS_ID, BOS_TURN, False)]
            system = next(encoded)
            if system:
                row += [(i, 0, False) for i in [SYSTEM_ID, *system, END_ID]]
            for t, turn in enumerate(d["turns"], start=1):
                before, user, after, answer = (next(encoded) for _ in range(4))
                row.append((USER_ID, t, False))
                row += [(i, TAG_TURN + t, False) for i in before]
                row += [(i, t, False) for i in user]
                row += [(i, TAG_TURN + t, False) for i in after]
                row += [(END_ID, t, False), (ASSISTANT_ID, t, False)]
                row += [(i, t, turn["learn"]) for i in [*answer, END_ID]]
            row = row[: ROW_LENGTHS[-1]]
            i, t, l = zip(*row)
            ids += i
            turns += t
            learn += l
            lengths.append(len(row))
            blocked.append(d["blocked"])
    np.savez(
        work / "tokens.npz",
        ids=np.array(ids, np.uint16),
        turns=np.array(turns, np.uint8),
        learn=np.array(learn, bool),
        starts=np.cumsum([0, *lengths]),
        blocked=np.array(blocked, bool),
    )


def segments(turn: dict[str, str]) -> tuple[str, str, str, str]:
    """A turn's texts, cut before spaces, where byte-level BPE never joins: their ids add up to those of the whole."""
    user = f" {turn['user']}" if turn["before"] else turn["user"]
    after = f" {turn['after']}" if turn["after"] else ""
    return turn["before"], user, after, turn["answer"]


def pack(lengths: np.ndarray, n: int, rng: np.random.Generator) -> list[list[int]]:
    """Puts documents of at most n tokens into rows of n tokens, each where it fits most tightly among 200 open rows."""
    rows: list[list[int]] = []
    by_space: dict[int, list[list[int]]] = {}
    n_open = 0
    for d in rng.permutation(np.flatnonzero(lengths <= n)):
        size = int(lengths[d])
        space = next((s for s in range(size, n + 1) if by_space.get(s)), None)
        if space is None:
            if n_open == 200:
                tightest = next(s for s in range(n + 1) if by_space.get(s))
                rows.append(by_space[tightest].pop())
                n_open -= 1
            row, space = [], n
            n_open += 1
        else:
            row = by_space[space].pop()
        row.append(int(d))
        by_space.setdefault(space - size, []).append(row)
    return rows + [row for open_rows in by_space.values() for row in open_rows]


class Batches:
    """All batches of one pass over the corpus, in a seeded order; batch(i) goes round again after the last."""

    def __init__(self, work: Path) -> None:
        data = np.load(work / "tokens.npz")
        self.data = {k: data[k] for k in data.files}
        rng = np.random.default_rng(SEED)
        lengths = np.diff(self.data["starts"])
        self.batches: list[tuple[int, list[list[int]]]] = []
        for low, n in zip((0, *ROW_LENGTHS), ROW_LENGTHS):
            rows = pack(np.where(lengths > low, lengths, n + 1), n, rng)
            rows = [rows[i] for i in rng.permutation(len(rows))]
            per = ROWS_TOKENS // n
            self.batches += [(n, rows[i : i + per]) for i in range(0, len(rows) - per + 1, per)]
        self.batches = [self.batches[i] for i in rng.permutation(len(self.batches))]

    def batch(self, i: int) -> tuple[Tensor, Tensor, Tensor]:
        """ids [B, T], mask [B, 1, T, T], and whether each token is a target [B, T]."""
        n, rows = self.batches[i % len(self.batches)]
        ids = np.full((len(rows), n), END_ID, np.int64)
        turn = np.zeros((len(rows), n), np.uint8)
        document = np.full((len(rows), n), -1, np.int16)
        learn = np.zeros((len(rows), n), bool)
        sees_all = np.ones((len(rows), n), bool)
        for r, row in enumerate(rows):
            at = 0
            for k, d in enumerate(row):
                a, b = self.data["starts"][d : d + 2]
                to = slice(at, at + b - a)
                ids[r, to], turn[r, to] = self.data["ids"][a:b], self.data["turns"][a:b]
                learn[r, to], document[r, to] = self.data["learn"][a:b], k
                sees_all[r, to] = not self.data["blocked"][d]
                at += b - a
        sees_all |= ids == ASSISTANT_ID
        document_, turn_ = torch.from_numpy(document), torch.from_numpy(turn)
        mask = document_[:, :, None] == document_[:, None, :]
        same_turn = turn_[:, :, None] == turn_[:, None, :]
        mask &= same_turn | torch.from_numpy(sees_all)[:, :, None] | (turn_ == BOS_TURN)[:, None, :]
        mask &= torch.ones(n, n, dtype=torch.bool).tril()
        return torch.from_numpy(ids), mask[:, None], torch.from_numpy(learn)


def rate(step: int, steps: int, decay: int) -> float:
    """Warm-up over 100 steps, constant, then linearly to zero."""
    return min(1.0, (step + 1) / 100, (steps - step) / decay)


def train(work: Path, steps: int, decay: int, learning_rate: float) -> None:
    torch.manual_seed(SEED)
    tokenizer = load_tokenizer(work)
    model = Nano(Config(n_vocab=tokenizer.get_vocab_size()))
    matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and not n.startswith("embed")]
    others = [p for n, p in model.named_parameters() if p.ndim != 2 or n.startswith("embed")]
    optimizers = [
        torch.optim.Muon(matrices, lr=learning_rate, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=learning_rate, weight_decay=0.0, betas=(0.9, 0.95)),
    ]
    start = tokens = 0
    if (work / "last.pt").exists():
        saved = torch.load(work / "last.pt")
        model.load_state_dict(saved["model"])
        for optimizer, state in zip(optimizers, saved["optimizers"]):
            optimizer.load_state_dict(state)
        start, tokens = saved["step"], saved["tokens"]
    batches = Batches(work)
    print(
        f"{len(batches.batches)} batches a pass, {sum(p.numel() for p in model.parameters()):,} parameters, from step {start}",
        flush=True,
    )
    hidden = torch.compile(model.hidden, dynamic=False)
    total, since = 0.0, time.time()
    for step in range(start, steps):
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = learning_rate * rate(step, steps, decay)
        ids, mask, learn = batches.batch(step)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            h = hidden(ids, mask)
            logits = model.logits(h[:, :-1][learn[:, 1:]])
        loss = F.cross_entropy(logits.float(), ids[:, 1:][learn[:, 1:]])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        total, tokens = total + loss.item(), tokens + ids.numel()
        if step % 50 == 49:
            took, since = time.time() - since, time.time()
            print(
                f"step {step + 1} loss {total / 50:.4f} tokens {tokens:,} {50 * ids.numel() / took:.0f}/s", flush=True
            )
            total = 0.0
        if step % 200 == 199 or step + 1 == steps:
            states = [o.state_dict() for o in optimizers]
            saved = {"model": model.state_dict(), "optimizers": states, "step": step + 1, "tokens": tokens}
            torch.save(saved, work / "last.tmp")
            (work / "last.tmp").rename(work / "last.pt")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--decay", type=int, default=600)
    parser.add_argument("--learning-rate", type=float, default=3e-3)
    parser.add_argument("--vocabulary", type=int, default=3072)
    args = parser.parse_args()
    if not (args.work / "tokens.npz").exists():
        encode_corpus(args.work, args.vocabulary)
    train(args.work, args.steps, args.decay, args.learning_rate)


if __name__ == "__main__":
    main()
