"""What llama.cpp computes with a control vector: `python make.py` beside llama-cpp-python, gguf and numpy.

Writes control_vector.gguf, as repeng does, and llamacpp.json: the logits of the last token with and without it.
"""

import ctypes
import json
from pathlib import Path

import gguf
import llama_cpp
import numpy as np

HERE = Path(__file__).parent
MODEL = HERE / "../../golden/llama/model-f32.gguf"
TOKENS = [1, 79, 148, 180, 134, 228, 243, 139, 257, 5, 233, 198]
LAYERS = [1, 2]


def logits(model, directions):
    params = llama_cpp.llama_context_default_params()
    params.n_ctx = 64
    params.flash_attn_type = 0
    params.type_k = params.type_v = 0  # F32; the default is F16
    context = llama_cpp.llama_init_from_model(model, params)
    if directions is not None:
        n_layer, n_embd = llama_cpp.llama_model_n_layer(model), llama_cpp.llama_model_n_embd(model)
        data = np.zeros((n_layer - 1, n_embd), np.float32)  # direction.N lies at (N - 1) * n_embd
        for layer, direction in directions.items():
            data[layer - 1] = direction
        pointer = data.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
        assert llama_cpp.llama_set_adapter_cvec(context, pointer, data.size, n_embd, 1, n_layer) == 0
    tokens = (llama_cpp.llama_token * len(TOKENS))(*TOKENS)
    assert llama_cpp.llama_decode(context, llama_cpp.llama_batch_get_one(tokens, len(TOKENS))) == 0
    n_vocab = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model))
    last = llama_cpp.llama_get_logits_ith(context, -1)
    return [float(last[i]) for i in range(n_vocab)]


def main():
    llama_cpp.llama_backend_init()
    model = llama_cpp.llama_model_load_from_file(str(MODEL).encode(), llama_cpp.llama_model_default_params())
    n_embd = llama_cpp.llama_model_n_embd(model)
    print("layers", llama_cpp.llama_model_n_layer(model), "width", n_embd)
    random = np.random.default_rng(5)
    directions = {layer: random.normal(0, 0.5, n_embd).astype(np.float32) for layer in LAYERS}
    writer = gguf.GGUFWriter(str(HERE / "control_vector.gguf"), "controlvector")
    writer.add_string("controlvector.model_hint", "llama")
    writer.add_uint32("controlvector.layer_count", len(directions))
    for layer, direction in directions.items():
        writer.add_tensor(f"direction.{layer}", direction)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    told = {"tokens": TOKENS, "bare": logits(model, None), "steered": logits(model, directions)}
    (HERE / "llamacpp.json").write_text(json.dumps(told))
    print(np.abs(np.array(told["bare"]) - np.array(told["steered"])).max())


main()
