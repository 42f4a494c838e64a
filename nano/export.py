"""Writes a checkpoint as GGUF: F32 into WORK, Q8_0 and Q4_0 beside this script. `python export.py WORK [--out FOLDER]`.

Rows of attn_q and attn_k are permuted within each head, as llama.cpp's converter does: there the rotary pairs are
neighbours (2j, 2j + 1), in `model.py` they are half a head apart (j, j + K/2). In the Q4_0 file the token embedding, which
is also the output matrix, stays Q8_0; norms are F32 everywhere.
"""

import argparse
import json
from pathlib import Path

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType as Type

from chat import BOS_ID, END_ID, SPECIALS, TEMPLATE
from model import Config, Nano

NAMES = {
    "attn_norm": "attn_norm",
    "q": "attn_q",
    "k": "attn_k",
    "v": "attn_v",
    "o": "attn_output",
    "ffn_norm": "ffn_norm",
    "gate": "ffn_gate",
    "up": "ffn_up",
    "down": "ffn_down",
}


def gguf_name(name: str) -> str:
    """`layers.3.q.weight` to `blk.3.attn_q.weight`."""
    if name.startswith("layers."):
        _, i, part, _ = name.split(".")
        return f"blk.{i}.{NAMES[part]}.weight"
    return {"embed.weight": "token_embd.weight", "norm.weight": "output_norm.weight"}[name]


def permute(w: np.ndarray, head_dim: int, back: bool = False) -> np.ndarray:
    """Half-split rows [H K, D] to neighbouring pairs, or back."""
    inner = (head_dim // 2, 2) if back else (2, head_dim // 2)
    return w.reshape(-1, *inner, w.shape[1]).swapaxes(1, 2).reshape(w.shape)


def rotary(name: str) -> bool:
    return "attn_q." in name or "attn_k." in name


def write(
    model: Nano, tokenizer_json: dict, path: Path, matrix: Type, embedding: Type, file_type: gguf.LlamaFileType
) -> None:
    c = model.c
    w = gguf.GGUFWriter(path, "llama")
    w.add_name("webreft-nano")
    w.add_description("A 5 M parameter model of a closed world in fourteen answer styles, made for webreft.")
    w.add_license("MIT OR Apache-2.0")
    w.add_languages(["en"])
    w.add_file_type(file_type)
    w.add_quantization_version(gguf.GGML_QUANT_VERSION)
    w.add_context_length(c.n_ctx)
    w.add_embedding_length(c.n_embd)
    w.add_block_count(c.n_layer)
    w.add_feed_forward_length(c.n_ff)
    w.add_head_count(c.n_head)
    w.add_head_count_kv(c.n_head_kv)
    w.add_rope_dimension_count(c.head_dim)
    w.add_rope_freq_base(c.rope_base)
    w.add_layer_norm_rms_eps(c.rms_eps)
    w.add_vocab_size(c.n_vocab)
    vocab = tokenizer_json["model"]["vocab"]
    tokens = sorted(vocab, key=vocab.__getitem__)
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre("gpt-2")
    w.add_token_list(tokens)
    w.add_token_types([gguf.TokenType.CONTROL if t in SPECIALS else gguf.TokenType.NORMAL for t in tokens])
    w.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in tokenizer_json["model"]["merges"]])
    w.add_bos_token_id(BOS_ID)
    w.add_eos_token_id(END_ID)
    w.add_eot_token_id(END_ID)
    w.add_pad_token_id(END_ID)
    w.add_add_bos_token(False)
    w.add_add_eos_token(False)
    w.add_chat_template(TEMPLATE)
    for name, p in model.state_dict().items():
        name, data = gguf_name(name), p.float().numpy()
        if rotary(name):
            data = permute(data, c.head_dim)
        kind = Type.F32 if data.ndim == 1 else embedding if name.startswith("token_embd") else matrix
        w.add_tensor(name, gguf.quantize(np.ascontiguousarray(data), kind), raw_dtype=kind)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def read(path: Path) -> Nano:
    """The model in a GGUF file that `write` wrote, its weights dequantized."""
    reader = gguf.GGUFReader(path)

    def field(key: str):
        return reader.fields[key].contents()

    model = Nano(
        Config(
            n_vocab=field("llama.vocab_size"),
            n_embd=field("llama.embedding_length"),
            n_layer=field("llama.block_count"),
            n_head=field("llama.attention.head_count"),
            n_head_kv=field("llama.attention.head_count_kv"),
            head_dim=field("llama.rope.dimension_count"),
            n_ff=field("llama.feed_forward_length"),
            n_ctx=field("llama.context_length"),
            rope_base=field("llama.rope.freq_base"),
            rms_eps=field("llama.attention.layer_norm_rms_epsilon"),
        )
    )
    tensors = {t.name: gguf.dequantize(t.data, t.tensor_type) for t in reader.tensors}
    state = {}
    for name in model.state_dict():
        data = tensors[gguf_name(name)]
        state[name] = torch.from_numpy(
            np.array(permute(data, model.c.head_dim, back=True) if rotary(gguf_name(name)) else data)
        )
    model.load_state_dict(state)
    return model.eval().requires_grad_(False)


def load_checkpoint(path: Path) -> Nano:
    state = torch.load(path, map_location="cpu")["model"]
    model = Nano(Config(n_vocab=state["embed.weight"].shape[0]))
    model.load_state_dict(state)
    return model.eval().requires_grad_(False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    args = parser.parse_args()
    model = load_checkpoint(args.work / "last.pt")
    tokenizer_json = json.loads((args.work / "tokenizer.json").read_text())
    for path, matrix, embedding, file_type in (
        (args.work / "webreft-nano-f32.gguf", Type.F32, Type.F32, gguf.LlamaFileType.ALL_F32),
        (args.out / "webreft-nano-q8_0.gguf", Type.Q8_0, Type.Q8_0, gguf.LlamaFileType.MOSTLY_Q8_0),
        (args.out / "webreft-nano-q4_0.gguf", Type.Q4_0, Type.Q8_0, gguf.LlamaFileType.MOSTLY_Q4_0),
    ):
        write(model, tokenizer_json, path, matrix, embedding, file_type)
        print(f"{path} {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
