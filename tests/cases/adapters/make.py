"""The right answers of adapters in every form: `python tests/cases/adapters/make.py` writes greedy.json.

A llama in float64 (numpy), with tests/golden/llama/model, answers one prompt greedily; every answer is 24 tokens. An adapter is a
change of weight matrices, and so is a DoRA, as peft's layer.py and dora.py compute them. `base` and `plain` are also what Transformers and
peft answer; the script fails if its own differ.

It also writes bin_legacy: `plain` as torch.save did before 1.6, or does with _use_new_zipfile_serialization=False.
"""

import collections
import json
import math
import pathlib
import pickle
import sys
import types

import numpy
from safetensors import safe_open

HERE = pathlib.Path(__file__).parent
MODEL = HERE.parents[1] / "golden/llama/model"
IDS = [1, 293, 308, 273, 290, 289, 273, 279, 259, 304, 259, 292, 259, 305, 314]
TOKENS = 24
KNOWN = {
    "base": [57, 15, 82, 228, 82, 298, 82, 228, 20, 67, 301, 23, 218, 141, 190, 26, 195, 210, 169, 184, 231, 314, 190, 161],
    "plain": [64, 228, 7, 219, 231, 153, 228, 82, 176, 313, 231, 198, 228, 52, 97, 33, 212, 234, 313, 301, 292, 235, 133, 40],
}
CONFIG = json.loads((MODEL / "config.json").read_text())


def tensors(path):
    with safe_open(path, "numpy") as file:
        return {name: file.get_tensor(name).astype(numpy.float64) for name in file.keys()}


def norm(x, weight):
    return x / numpy.sqrt((x * x).mean(-1, keepdims=True) + CONFIG["rms_norm_eps"]) * weight


def rotated(x, angles):
    half = x.shape[-1] // 2
    turned = numpy.concatenate([-x[..., half:], x[..., :half]], -1)
    return x * numpy.cos(angles) + turned * numpy.sin(angles)


def attention(weights, root, x):
    length, width = len(x), CONFIG["head_dim"]
    project = lambda name: (x @ weights[f"{root}.{name}_proj.weight"].T).reshape(length, -1, width).swapaxes(0, 1)
    q, k, v = project("q"), project("k"), project("v")
    inverse = CONFIG["rope_theta"] ** (-numpy.arange(0, width, 2) / width)
    angles = numpy.arange(length)[:, None] * numpy.tile(inverse, 2)
    group = len(q) // len(k)
    q, k, v = rotated(q, angles), numpy.repeat(rotated(k, angles), group, 0), numpy.repeat(v, group, 0)
    scores = q @ k.swapaxes(1, 2) / math.sqrt(width) + numpy.triu(numpy.full((length, length), -numpy.inf), 1)
    shares = numpy.exp(scores - scores.max(-1, keepdims=True))
    shares /= shares.sum(-1, keepdims=True)
    return (shares @ v).swapaxes(0, 1).reshape(length, -1) @ weights[f"{root}.o_proj.weight"].T


def logits(weights, ids):
    h = weights["model.embed_tokens.weight"][ids]
    for layer in range(CONFIG["num_hidden_layers"]):
        root = f"model.layers.{layer}"
        h = h + attention(weights, f"{root}.self_attn", norm(h, weights[f"{root}.input_layernorm.weight"]))
        x = norm(h, weights[f"{root}.post_attention_layernorm.weight"])
        gate = x @ weights[f"{root}.mlp.gate_proj.weight"].T
        inner = gate / (1 + numpy.exp(-gate)) * (x @ weights[f"{root}.mlp.up_proj.weight"].T)
        h = h + inner @ weights[f"{root}.mlp.down_proj.weight"].T
    return norm(h[-1], weights["model.norm.weight"]) @ weights["lm_head.weight"].T


def greedy(weights):
    """The answer, and the smallest distance between the best logit and the next."""
    ids, margin = list(IDS), math.inf
    for _ in range(TOKENS):
        row = logits(weights, ids)
        best = numpy.sort(row)[-2:]
        margin = min(margin, best[1] - best[0])
        ids.append(int(row.argmax()))
    return ids[len(IDS):], margin


def adapted(base, adapter, alpha_of, rslora=False, magnitude=None):
    """The weights with an adapter whose pairs have the ranks of their shapes; as a DoRA where there are magnitudes."""
    weights = dict(base)
    for name, a in adapter.items():
        if ".lora_A." not in name:
            continue
        b = adapter[name.replace("lora_A", "lora_B")]
        path = name.removeprefix("base_model.model.").split(".lora_A.")[0]
        rank = len(a)
        scale = alpha_of(path) / (math.sqrt(rank) if rslora else rank)
        changed = base[f"{path}.weight"] + scale * b @ a
        if magnitude:
            lengths = numpy.linalg.norm(changed, axis=1)
            changed = changed * (magnitude(path, base[f"{path}.weight"]) / lengths)[:, None]
        weights[f"{path}.weight"] = changed
    return weights


def lengths(path, weight):
    """Magnitudes that no training gave: each row is longer by a tenth or two."""
    rows = numpy.arange(len(weight))
    return (numpy.linalg.norm(weight, axis=1) * (1 + (rows % 3) / 10)).astype(numpy.float32).astype(numpy.float64)


def legacy(path, state):
    """A dict of float32 tensors as torch's legacy format has it, with classes of the same names in place of torch's."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    torch.FloatStorage = type("FloatStorage", (), {"__module__": "torch"})
    utils._rebuild_tensor_v2 = lambda *_: None
    utils._rebuild_tensor_v2.__module__, utils._rebuild_tensor_v2.__qualname__ = "torch._utils", "_rebuild_tensor_v2"
    sys.modules |= {"torch": torch, "torch._utils": utils}

    class Storage:
        def __init__(self, number, values):
            self.id = ("storage", torch.FloatStorage, str(94000000000000 + 64 * number), "cpu", values.size, None)

    class Tensor:
        def __init__(self, storage, values):
            strides = tuple(stride // values.itemsize for stride in values.strides)
            self.arguments = (storage, 0, values.shape, strides, False, collections.OrderedDict())

        def __reduce__(self):
            return utils._rebuild_tensor_v2, self.arguments

    class Pickler(pickle.Pickler):
        def persistent_id(self, value):
            return value.id if isinstance(value, Storage) else None

    state = {name: values.astype(numpy.float32) for name, values in state.items()}
    storages = [Storage(number, values) for number, values in enumerate(state.values())]
    tensors = {name: Tensor(storage, state[name]) for name, storage in zip(state, storages)}
    sizes = {"short": 2, "int": 4, "long": 4}
    with open(path, "wb") as file:
        pickle.dump(0x1950A86A20F9469CFC6C, file, protocol=2)
        pickle.dump(1001, file, protocol=2)
        pickle.dump({"protocol_version": 1001, "little_endian": True, "type_sizes": sizes}, file, protocol=2)
        Pickler(file, protocol=2).dump(tensors)
        pickle.dump(sorted(storage.id[2] for storage in storages), file, protocol=2)
        for values in state.values():
            file.write(values.size.to_bytes(8, "little") + values.tobytes())


def main():
    base = tensors(MODEL / "model.safetensors")
    plain = tensors(HERE / "plain/adapter_model.safetensors")
    (HERE / "bin_legacy").mkdir(exist_ok=True)
    (HERE / "bin_legacy/adapter_config.json").write_bytes((HERE / "plain/adapter_config.json").read_bytes())
    legacy(HERE / "bin_legacy/adapter_model.bin", plain)
    patterned = tensors(HERE / "rank_pattern/adapter_model.safetensors")
    k_is_16 = lambda path: 16 if path.endswith("k_proj") else 8
    first_k = lambda path: 40 if path == "model.layers.1.self_attn.k_proj" else 8
    # bfloat16 and float16 as torch rounds them.
    bf16 = {k: rounded(v) for k, v in plain.items()}
    f16 = {k: v.astype(numpy.float16).astype(numpy.float64) for k, v in plain.items()}
    answers = {
        "base": base,
        "plain": adapted(base, plain, lambda path: 8),
        "rank_pattern": adapted(base, patterned, k_is_16),
        "rank_pattern with rslora": adapted(base, patterned, k_is_16, rslora=True),
        "alpha_pattern": adapted(base, plain, k_is_16),
        "alpha_pattern of one module": adapted(base, plain, first_k),
        "rank_pattern with dora": adapted(base, patterned, k_is_16, magnitude=lengths),
        "bf16": adapted(base, bf16, lambda path: 8),
        "f16": adapted(base, f16, lambda path: 8),
    }
    lines = []
    for name, weights in answers.items():
        answer, margin = greedy(weights)
        assert KNOWN.get(name, answer) == answer, (name, answer)
        assert margin > 1e-3, (name, margin)
        print(f"{name}: {answer}, margin {margin:.4f}")
        lines.append(f" {json.dumps(name)}: {json.dumps(answer)}")
    (HERE / "greedy.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")


def rounded(values):
    bits = values.astype(numpy.float32).view(numpy.uint32)
    bits = (bits + 0x7FFF + ((bits >> 16) & 1)) & numpy.uint32(0xFFFF0000)
    return bits.astype(numpy.uint32).view(numpy.float32).astype(numpy.float64)


if __name__ == "__main__":
    main()
