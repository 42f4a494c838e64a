"""Writes gguf/llama_biases.gguf and says what llama.cpp makes of it.

    python make.py ../llamacpp/data/archs/llama_rope_freqs-f32.gguf gguf/llama_biases.gguf

The model is the first file's, with a bias for each of the seven matrices of a layer. Made with gguf 0.19.0, numpy 2.4.6 and llama_cpp_python
0.3.36.
"""

import sys

import numpy as np
from gguf import GGUFReader, GGUFValueType, GGUFWriter

BIASES = {
    "attn_q": 64, "attn_k": 32, "attn_v": 32, "attn_output": 64, "ffn_gate": 160, "ffn_up": 160, "ffn_down": 64,
}
TOKENS = [1] + [3 + (17 * i * i + 29 * i) % 250 for i in range(23)]
SCORED = 8


def write(source, target):
    reader, random = GGUFReader(source), np.random.default_rng(7)
    writer = GGUFWriter(target, reader.fields["general.architecture"].contents())
    for key, field in reader.fields.items():
        if key.startswith("GGUF.") or key == "general.architecture":
            continue
        kind = field.types[0]
        sub = field.types[1] if kind == GGUFValueType.ARRAY else None
        writer.add_key_value(key, field.contents(), kind, sub_type=sub)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, np.array(tensor.data))
    for layer in range(2):
        for stem, width in BIASES.items():
            writer.add_tensor(f"blk.{layer}.{stem}.bias", random.uniform(-0.5, 0.5, width).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def nats(path):
    from llama_cpp import Llama

    model = Llama(path, n_ctx=512, logits_all=True, verbose=False, n_threads=1, type_k=0, type_v=0)
    model.eval(TOKENS)
    logits = np.array(model.scores[: len(TOKENS)], dtype=np.float64)
    loss = 0.0
    for at in range(len(TOKENS) - SCORED, len(TOKENS)):
        row = logits[at - 1]
        loss += row.max() + np.log(np.exp(row - row.max()).sum()) - row[TOKENS[at]]
    return loss / SCORED


if __name__ == "__main__":
    if sys.argv[1] == "nats":
        print(nats(sys.argv[2]))
    else:
        write(sys.argv[1], sys.argv[2])
        print(TOKENS)
