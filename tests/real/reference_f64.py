#!/usr/bin/env python3
"""Computes the nats of Gemma 3's completions in float64, and writes them to gemma3_f64.json.

    pip install gguf==0.19.0 numpy
    python3 tests/real/reference_f64.py target/models/gemma-3-270m-q4_k_m.gguf

Weights are dequantized by the `gguf` package; everything after that is float64. `--gelu f16` looks the GELU up as
ggml does on a CPU: input and result are rounded to f16. It prints how far the nats are from llama.cpp's and writes
nothing.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from gguf import GGUFReader, dequantize

HERE = Path(__file__).parent


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--gelu", choices=["exact", "f16"], default="exact")
    options = parser.parse_args()
    model = Model(options.model, gelu if options.gelu == "exact" else gelu_f16)
    references = json.loads((HERE / "references.json").read_text())
    cases = references["models"]["gemma-3-270m"]["cases"]
    nats = []
    for case in cases:
        nats.append(model.nats(case["ids"], case["completion_ids"]))
        off = np.abs(np.array(nats[-1]) - np.array(case["nll"]))
        print(f"{off.max():.2e} of {len(off)} tokens  {case['prompt'][:40]!r}", flush=True)
    if options.gelu == "exact":
        source = f"float64, weights dequantized by gguf, {Path(__file__).name}"
        text = json.dumps({"source": source, "nll": nats}, indent=1)
        (HERE / "gemma3_f64.json").write_text(text + "\n")


def gelu(x):
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def gelu_f16(x):
    """ggml's table: an f16 result for each f16 input; outside of (-10, 10) 0 and x."""
    looked_up = gelu(x.astype(np.float16).astype(np.float64)).astype(np.float16).astype(np.float64)
    return np.where(x <= -10, 0, np.where(x >= 10, x, looked_up))


class Model:
    def __init__(self, path, act):
        reader = GGUFReader(path)
        self.tensors = {tensor.name: tensor for tensor in reader.tensors}
        self.act = act

        def field(key):
            return reader.fields[f"gemma3.{key}"].contents()

        self.n_layer = field("block_count")
        self.n_head = field("attention.head_count")
        self.head_dim = field("attention.key_length")
        self.eps = float(field("attention.layer_norm_rms_epsilon"))
        self.base = float(field("rope.freq_base"))
        self.window = field("attention.sliding_window")
        assert field("attention.head_count_kv") == 1, "one head of keys and values"
        self.layers = [self.layer_weights(number) for number in range(self.n_layer)]

    def weights(self, name):
        tensor = self.tensors[name]
        return dequantize(tensor.data, tensor.tensor_type).astype(np.float64)

    def layer_weights(self, number):
        prefix = f"blk.{number}."
        names = [name for name in self.tensors if name.startswith(prefix)]
        return {name.removeprefix(prefix).removesuffix(".weight"): self.weights(name) for name in names}

    def norm(self, x, weight):
        return x / np.sqrt((x * x).mean(axis=-1, keepdims=True) + self.eps) * weight

    def rope(self, x, base):
        """Turns x [T, H, K] in halves of a head."""
        half = self.head_dim // 2
        angles = np.arange(len(x))[:, None] * base ** (-np.arange(half) / half)
        cos, sin = np.cos(angles)[:, None], np.sin(angles)[:, None]
        a, b = x[..., :half], x[..., half:]
        return np.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1)

    def attention(self, x, w, number):
        n = len(x)
        has_window = (number + 1) % 6 != 0
        base = 10_000.0 if has_window else self.base
        q = (x @ w["attn_q"].T).reshape(n, self.n_head, self.head_dim)
        k = (x @ w["attn_k"].T).reshape(n, 1, self.head_dim)
        v = x @ w["attn_v"].T
        q = self.rope(self.norm(q, w["attn_q_norm"]), base)
        k = self.rope(self.norm(k, w["attn_k_norm"]), base)[:, 0]
        scores = np.einsum("thk,sk->hts", q, k) / np.sqrt(self.head_dim)
        behind = np.arange(n)[:, None] - np.arange(n)[None, :]
        is_seen = (behind >= 0) & (behind < (self.window if has_window else n))
        shares = np.exp(np.where(is_seen, scores - scores.max(axis=-1, keepdims=True), -np.inf))
        shares /= shares.sum(axis=-1, keepdims=True)
        return np.einsum("hts,sk->thk", shares, v).reshape(n, -1) @ w["attn_output"].T

    def mlp(self, x, w):
        return (self.act(x @ w["ffn_gate"].T) * (x @ w["ffn_up"].T)) @ w["ffn_down"].T

    def hidden(self, ids):
        """The normalized hidden states after the last layer [T, D]."""
        embedding = self.tensors["token_embd.weight"]
        rows = dequantize(embedding.data[np.array(ids)], embedding.tensor_type).astype(np.float64)
        h = rows * np.sqrt(rows.shape[1])
        for number, w in enumerate(self.layers):
            attended = self.attention(self.norm(h, w["attn_norm"]), w, number)
            h = h + self.norm(attended, w["post_attention_norm"])
            h = h + self.norm(self.mlp(self.norm(h, w["ffn_norm"]), w), w["post_ffw_norm"])
        return self.norm(h, self.weights("output_norm.weight"))

    def logits(self, h):
        """A part of the vocabulary at a time: all of it in float64 is more than a gigabyte."""
        embedding = self.tensors["token_embd.weight"]
        parts = np.array_split(embedding.data, 16)
        return np.concatenate(
            [h @ dequantize(part, embedding.tensor_type).astype(np.float64).T for part in parts], axis=-1
        )

    def nats(self, prompt, completion):
        h = self.hidden(prompt + completion)[len(prompt) - 1 : -1]
        logits = self.logits(h)
        highest = logits.max(axis=-1, keepdims=True)
        log_mass = highest[:, 0] + np.log(np.exp(logits - highest).sum(axis=-1))
        return list(log_mass - logits[np.arange(len(completion)), completion])


main()
