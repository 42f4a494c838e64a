"""LoReFT in PyTorch, on webreft-nano: to find settings before, and to check, the engine's native command line.

At the chosen layers' outputs and prompt positions h becomes h + Rᵀ(W h + b - R h), R [rank, D] with orthonormal rows.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from torch import Tensor, nn

from chat import END_ID, prompt_ids
from model import Edit, Nano


class LoReft(nn.Module):
    """One layer's intervention, initialized as pyreft does: R orthogonal, W and b as nn.Linear's."""

    def __init__(self, n_embd: int, rank: int) -> None:
        super().__init__()
        self.rotation = nn.utils.parametrizations.orthogonal(
            nn.Linear(n_embd, rank, bias=False), orthogonal_map="householder"
        )
        self.source = nn.Linear(n_embd, rank)

    def forward(self, h: Tensor) -> Tensor:
        return h + (self.source(h) - self.rotation(h)) @ self.rotation.weight


def positions(spec: str, n: int) -> list[int]:
    """`f1+l1` for a prompt of n tokens: the first and the last; each index once, counted from the prompt's start."""
    parts = dict((p[0], int(p[1:])) for p in spec.split("+"))
    return sorted({*range(min(parts.get("f", 0), n)), *range(max(0, n - parts.get("l", 0)), n)})


def edits_at(interventions: dict[int, LoReft], where: Tensor) -> dict[int, Edit]:
    """where [B, T] is true at the positions to edit."""

    def edit(reft: LoReft) -> Callable[[Tensor], Tensor]:
        return lambda h: torch.where(where[..., None], reft(h), h)

    return {layer: edit(reft) for layer, reft in interventions.items()}


def train(
    model: Nano,
    tokenizer: Tokenizer,
    examples: list[dict[str, str]],
    layers: list[int],
    rank: int,
    spec: str,
    epochs: int,
    learning_rate: float,
    seed: int,
) -> dict[int, LoReft]:
    """One step of AdamW an epoch, over all examples at once; the loss is on the completion and its <|end|>."""
    torch.manual_seed(seed)
    interventions = {layer: LoReft(model.c.n_embd, rank) for layer in layers}
    prompts = [prompt_ids(tokenizer, e["prompt"]) for e in examples]
    rows = [p + tokenizer.encode(e["completion"]).ids + [END_ID] for p, e in zip(prompts, examples)]
    n = max(map(len, rows))
    ids = torch.tensor([r + [END_ID] * (n - len(r)) for r in rows])
    target = torch.zeros(len(rows), n, dtype=torch.bool)
    where = torch.zeros(len(rows), n, dtype=torch.bool)
    for i, (p, r) in enumerate(zip(prompts, rows)):
        target[i, len(p) : len(r)] = True
        where[i, positions(spec, len(p))] = True
    mask = torch.ones(n, n, dtype=torch.bool).tril()[None, None]
    edits = edits_at(interventions, where)
    optimizer = torch.optim.AdamW(
        [p for i in interventions.values() for p in i.parameters()], learning_rate, weight_decay=0.0
    )
    for _ in range(epochs):
        h = model.hidden(ids, mask, edits)
        loss = F.cross_entropy(model.logits(h[:, :-1][target[:, 1:]]), ids[:, 1:][target[:, 1:]])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return interventions


@torch.no_grad()
def answer(
    model: Nano,
    tokenizer: Tokenizer,
    prompts: list[str],
    interventions: dict[int, LoReft] | None = None,
    spec: str = "l1",
    system: str = "",
    n_max: int = 96,
) -> list[str]:
    """The model's greedy answer to each question."""
    rows = [prompt_ids(tokenizer, p, system) for p in prompts]
    n = max(map(len, rows))
    where = torch.zeros(len(rows), n, dtype=torch.bool)
    for i, row in enumerate(rows):
        where[i, [n - len(row) + p for p in positions(spec, len(row))]] = True
    edits = edits_at(interventions, where) if interventions else None
    return [tokenizer.decode(ids) for ids in model.generate(rows, END_ID, n_max, edits)]
