"""The Llama of webreft-nano in PyTorch: small enough to read at one sitting.

h = h + O attention(norm h);  h = h + W_down(silu(W_gate norm h) * W_up norm h);  logits = E norm h

Rotary positions are the half-split kind of Hugging Face's Llama; `export.py` permutes the rows of q and k for GGUF.
Letters: B rows, T tokens, D hidden size, H heads, G key-value heads, K head size, F feed-forward size, V vocabulary.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Edit = Callable[[Tensor], Tensor]
Cache = dict[nn.Module, tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Config:
    """Dimensions. Every matrix is a multiple of 32 wide, the block length of Q8_0 and Q4_0."""

    n_vocab: int = 3072
    n_embd: int = 256
    n_layer: int = 6
    n_head: int = 8
    n_head_kv: int = 4
    head_dim: int = 32
    n_ff: int = 640
    n_ctx: int = 512
    rope_base: float = 10000.0
    rms_eps: float = 1e-5


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turns x [B, H, T, K]: coordinate j pairs with j + K/2."""
    a, b = x.chunk(2, dim=-1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1)


class Layer(nn.Module):
    """Attention and feed-forward, each behind its norm and added back."""

    def __init__(self, c: Config) -> None:
        super().__init__()
        self.c = c
        self.attn_norm = nn.RMSNorm(c.n_embd, c.rms_eps)
        self.q = nn.Linear(c.n_embd, c.n_head * c.head_dim, bias=False)
        self.k = nn.Linear(c.n_embd, c.n_head_kv * c.head_dim, bias=False)
        self.v = nn.Linear(c.n_embd, c.n_head_kv * c.head_dim, bias=False)
        self.o = nn.Linear(c.n_head * c.head_dim, c.n_embd, bias=False)
        self.ffn_norm = nn.RMSNorm(c.n_embd, c.rms_eps)
        self.gate = nn.Linear(c.n_embd, c.n_ff, bias=False)
        self.up = nn.Linear(c.n_embd, c.n_ff, bias=False)
        self.down = nn.Linear(c.n_ff, c.n_embd, bias=False)

    def forward(self, h: Tensor, cos: Tensor, sin: Tensor, mask: Tensor, cache: Cache | None) -> Tensor:
        c, (b, t, _) = self.c, h.shape
        x = self.attn_norm(h)
        q = rotate(self.q(x).view(b, t, c.n_head, c.head_dim).transpose(1, 2), cos, sin)
        k = rotate(self.k(x).view(b, t, c.n_head_kv, c.head_dim).transpose(1, 2), cos, sin)
        v = self.v(x).view(b, t, c.n_head_kv, c.head_dim).transpose(1, 2)
        if cache is not None:
            if self in cache:
                k, v = torch.cat((cache[self][0], k), dim=2), torch.cat((cache[self][1], v), dim=2)
            cache[self] = k, v
        group = c.n_head // c.n_head_kv
        k, v = k.repeat_interleave(group, dim=1), v.repeat_interleave(group, dim=1)
        a = F.scaled_dot_product_attention(q, k.to(q.dtype), v.to(q.dtype), attn_mask=mask)
        h = h + self.o(a.transpose(1, 2).reshape(b, t, -1))
        x = self.ffn_norm(h)
        return h + self.down(F.silu(self.gate(x)) * self.up(x))


class Nano(nn.Module):
    """The whole model; the embedding is also the output matrix."""

    def __init__(self, c: Config) -> None:
        super().__init__()
        self.c = c
        self.embed = nn.Embedding(c.n_vocab, c.n_embd)
        self.layers = nn.ModuleList(Layer(c) for _ in range(c.n_layer))
        self.norm = nn.RMSNorm(c.n_embd, c.rms_eps)
        for p in self.parameters():
            if p.ndim == 2:
                nn.init.normal_(p, std=0.02)
        for layer in self.layers:
            for out in (layer.o, layer.down):
                nn.init.normal_(out.weight, std=0.02 / (2 * c.n_layer) ** 0.5)
        angle = torch.outer(
            torch.arange(c.n_ctx).float(), c.rope_base ** (-torch.arange(0, c.head_dim, 2).float() / c.head_dim)
        )
        self.register_buffer("cos", angle.cos(), persistent=False)
        self.register_buffer("sin", angle.sin(), persistent=False)

    def hidden(
        self, ids: Tensor, mask: Tensor, edits: dict[int, Edit] | None = None, cache: Cache | None = None
    ) -> Tensor:
        """ids [B, T] to the last normed hidden states [B, T, D].

        mask [B, 1, T, S] is true where a token may look among the S so far, cached ones included; `edits[l]` rewrites
        layer l's output. Positions count from the row's start: rotary attention only sees differences, so documents
        packed into one row, or padded on the left, do not care.
        """
        first, last = mask.shape[-1] - ids.shape[1], mask.shape[-1]
        h = self.embed(ids)
        for i, layer in enumerate(self.layers):
            h = layer(h, self.cos[first:last], self.sin[first:last], mask, cache)
            if edits and i in edits:
                h = edits[i](h)
        return self.norm(h)

    def logits(self, x: Tensor) -> Tensor:
        """Normed hidden states [..., D] to logits [..., V]."""
        return F.linear(x, self.embed.weight)

    @torch.no_grad()
    def generate(
        self, prompts: list[list[int]], stop: int, n_max: int, edits: dict[int, Edit] | None = None
    ) -> list[list[int]]:
        """The likeliest continuation of each prompt up to `stop`. Edits see the prompts [B, T, D], padded on the left."""
        n = max(map(len, prompts))
        pad = torch.tensor([n - len(p) for p in prompts])
        ids = torch.tensor([[stop] * (n - len(p)) + p for p in prompts])
        real = torch.arange(n)[None] >= pad[:, None]
        mask = (torch.ones(n, n, dtype=torch.bool).tril()[None] & real[:, None, :]) | torch.eye(n, dtype=torch.bool)[
            None
        ]
        cache: Cache = {}
        h = self.hidden(ids, mask[:, None], edits, cache)
        out: list[list[int]] = [[] for _ in prompts]
        done = torch.zeros(len(prompts), dtype=torch.bool)
        for _ in range(n_max):
            token = self.logits(h[:, -1]).argmax(-1)
            done |= token == stop
            if done.all():
                break
            for row, i, d in zip(out, token.tolist(), done.tolist()):
                if not d:
                    row.append(i)
            real = torch.cat((real, torch.ones(len(prompts), 1, dtype=torch.bool)), dim=1)
            h = self.hidden(token[:, None], real[:, None, None, :], cache=cache)
        return out
