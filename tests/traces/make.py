"""Traces of peft and pyvene, for the kinds that tests/golden does not hold: `PYTHONHASHSEED=0 python tests/traces/make.py`.

Each case really runs the library, in float32 and on the CPU, on a batch of three prompts with their completions. A file holds

    input_ids, attention_mask, labels   [B, T]     padded on the right; -100 is no label
    prompt_lengths                      [B]
    source_ids                          [B, S]     pyvene only: the texts whose last token is read
    temperature                         [steps]    boundless_das only
    init.<name>, grad0.<name>, final.<name>        the library's parameters by its names, their gradients, and after the steps
    logits0                             [B, T, V]  without those of virtual tokens
    loss0, loss                         [1], [steps]

and in its metadata, under `spec`, the settings. peft_save holds what `save_pretrained` writes of some of them before the first step.
Made with torch 2.15.0, transformers 4.45.1, peft 0.13.2, pyvene 0.1.8, safetensors 0.8.0.
"""

import json
import pathlib
import warnings

import peft
import pyvene
import torch
import transformers
from safetensors.torch import save_file

HERE = pathlib.Path(__file__).parent
STEPS, RATE, EPS = 10, 4e-3, 1e-8
# Of a rotation that some dimensions hardly feel: with the usual one AdamW follows rounding there, and pyvene in float64 ends elsewhere.
EPS_OF_ROTATION = 1e-4
TASK = "CAUSAL_LM"
IA3 = dict(target_modules=["k_proj", "v_proj", "down_proj"], feedforward_modules=["down_proj"])
DORA = dict(r=2, lora_alpha=3, task_type=TASK)
ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"]
FORWARD = ["gate_proj", "up_proj", "down_proj"]
PREFIX = dict(num_virtual_tokens=5, task_type=TASK)

# Neither of these is usual: outputs, and the input of o_proj.
OTHERS = dict(target_modules=["q_proj", "o_proj", "gate_proj", "down_proj"], feedforward_modules=["o_proj"])

# Each case: the model, the kind, and what peft is asked for.
CASES = {
    "ia3": ("llama", "ia3", lambda: peft.IA3Config(task_type=TASK, **IA3)),
    "ia3_qwen2": ("qwen2", "ia3", lambda: peft.IA3Config(task_type=TASK, **IA3)),
    "ia3_others": ("llama", "ia3", lambda: peft.IA3Config(task_type=TASK, **OTHERS)),
    "prompt_tuning": ("llama", "prompt_tuning", lambda: peft.PromptTuningConfig(**PREFIX)),
    "p_tuning": ("llama", "p_tuning", lambda: peft.PromptEncoderConfig(encoder_hidden_size=16, **PREFIX)),
    "prefix_tuning": ("llama", "prefix_tuning", lambda: peft.PrefixTuningConfig(**PREFIX)),
    "prefix_tuning_qwen2": ("qwen2", "prefix_tuning", lambda: peft.PrefixTuningConfig(**PREFIX)),
    "prefix_tuning_encoder": (
        "llama",
        "prefix_tuning",
        lambda: peft.PrefixTuningConfig(prefix_projection=True, encoder_hidden_size=16, **PREFIX),
    ),
    "rslora": (
        "llama",
        "lora",
        lambda: peft.LoraConfig(r=4, lora_alpha=6, use_rslora=True, target_modules=["q_proj", "v_proj"], task_type=TASK),
    ),
    "dora": (
        "llama",
        "dora",
        lambda: peft.LoraConfig(use_dora=True, target_modules=ATTENTION + FORWARD, layers_to_transform=[1, 2], **DORA),
    ),
    "dora_qwen2": (
        "qwen2",
        "dora",
        lambda: peft.LoraConfig(use_dora=True, target_modules=ATTENTION, layers_to_transform=[0, 1], **DORA),
    ),
}
# Those whose saved directory is kept.
SAVED = ["ia3", "ia3_others", "dora", "prompt_tuning", "p_tuning", "prefix_tuning", "prefix_tuning_encoder"]


def base_model(name):
    if name == "llama":
        return transformers.AutoModelForCausalLM.from_pretrained(HERE.parent / "golden/llama/model")
    model = transformers.AutoModelForCausalLM.from_pretrained(HERE.parent / "archs", gguf_file="qwen2-f32.gguf")
    model.config.tie_word_embeddings = True  # the reader of GGUF does not say so
    model.tie_weights()
    return model


def batch():
    """Three prompts with their completions, of different lengths."""
    draw = torch.Generator().manual_seed(1)
    lengths = [(6, 4), (4, 3), (5, 2)]
    width = max(sum(pair) for pair in lengths)
    ids = torch.zeros(len(lengths), width, dtype=torch.long)
    mask, labels = torch.zeros_like(ids), torch.full_like(ids, -100)
    for row, (n_prompt, n_answer) in enumerate(lengths):
        n = n_prompt + n_answer
        ids[row, :n] = torch.randint(3, 288, (n,), generator=draw)
        mask[row, :n] = 1
        labels[row, n_prompt:n] = ids[row, n_prompt:n]
    return dict(input_ids=ids, attention_mask=mask, labels=labels), [pair[0] for pair in lengths]


def copies(prefix, tensors):
    return {f"{prefix}.{name}": tensor.detach().clone().contiguous() for name, tensor in tensors.items()}


def trace(named, forward, n_tokens, eps=EPS, before_step=lambda step: None):
    """The parameters `named` trained by AdamW on what `forward` says."""
    kept = copies("init", named)
    optimizer = torch.optim.AdamW(named.values(), lr=RATE, eps=eps, weight_decay=0.0)
    losses = []
    for step in range(STEPS):
        before_step(step)
        optimizer.zero_grad()
        out = forward()
        out.loss.backward()
        if step == 0:
            kept["logits0"] = out.logits.detach()[:, -n_tokens:].contiguous()
            kept["loss0"] = out.loss.detach().reshape(1)
            kept |= copies("grad0", {name: tensor.grad for name, tensor in named.items()})
        optimizer.step()
        losses.append(out.loss.item())
    return kept | copies("final", named) | {"loss": torch.tensor(losses)}


def save(case, spec, inputs, n_prompts, kept, eps=EPS):
    small = {name: tensor.to(torch.int32) for name, tensor in inputs.items()}
    small["prompt_lengths"] = torch.tensor(n_prompts, dtype=torch.int32)
    spec |= dict(steps=STEPS, rate=RATE, eps=eps)
    save_file(small | kept, HERE / f"{case}.safetensors", metadata={"spec": json.dumps(spec)})
    print(f"{case}: loss {kept['loss'][0]:.4f} to {kept['loss'][-1]:.4f}")


def short(name):
    """peft's name without what it puts around each of them."""
    for word in ["base_model.model.", "prompt_encoder.default.", ".default"]:
        name = name.replace(word, "")
    return name


def run_peft(case):
    model_name, kind, make = CASES[case]
    torch.manual_seed(0)
    model = peft.get_peft_model(base_model(model_name), make())
    config = model.peft_config["default"]
    named = {short(name): tensor for name, tensor in model.named_parameters() if tensor.requires_grad}
    with torch.no_grad():
        for name, tensor in named.items():
            if any(part in name for part in ["ia3", "lora_B", "magnitude"]):  # where they start, not all of the arithmetic shows
                tensor.add_(0.1 * torch.randn_like(tensor))
    if case in SAVED:
        config.base_model_name_or_path = ""
        model.save_pretrained(HERE / "peft_save" / case)
        (HERE / "peft_save" / case / "README.md").unlink()
    inputs, n_prompts = batch()
    spec = dict(
        model=model_name,
        kind=kind,
        virtual_tokens=getattr(config, "num_virtual_tokens", None),
        encoder=getattr(config, "encoder_hidden_size", 0) if len(named) > 1 else 0,
        rank=getattr(config, "r", None),
        alpha=getattr(config, "lora_alpha", None),
        layers=getattr(config, "layers_to_transform", None),
        modules=sorted(getattr(config, "target_modules", None) or []),
    )
    kept = trace(named, lambda: model(**inputs), inputs["input_ids"].shape[1])
    save(case, spec, inputs, n_prompts, kept)


def run_boundless(case, layer):
    """pyvene's boundless DAS, its temperature falling as in its tutorial, over ten steps."""
    torch.manual_seed(0)
    model = base_model("llama")
    place = pyvene.RepresentationConfig(layer, "block_output", "pos", 1)
    config = pyvene.IntervenableConfig([place], pyvene.BoundlessRotatedSpaceIntervention)
    model = pyvene.IntervenableModel(config, model)
    model.disable_model_gradients()
    it = next(iter(model.interventions.values()))
    it = it[0] if isinstance(it, (list, tuple)) else it
    weight = it.rotate_layer.parametrizations.weight
    named = dict(raw=weight.original, boundary=it.intervention_boundaries)
    temperatures = torch.linspace(50.0, 0.1, STEPS)
    inputs, n_prompts = batch()
    sources = torch.randint(3, 288, (3, 7), generator=torch.Generator().manual_seed(2))
    last = [[[n - 1] for n in n_prompts]]
    read = [[[sources.shape[1] - 1] for _ in n_prompts]]
    both = {key: inputs[key] for key in ["input_ids", "attention_mask"]}

    def forward():
        return model(
            both,
            [dict(input_ids=sources, attention_mask=torch.ones_like(sources))],
            {"sources->base": (read, last)},
            labels=inputs["labels"],
        )[1]

    n_tokens, eps = inputs["input_ids"].shape[1], EPS_OF_ROTATION
    kept = trace(named, forward, n_tokens, eps, lambda step: it.set_temperature(temperatures[step]))
    kept |= {"base": weight[0].base.detach().clone().contiguous(), "temperature": temperatures}
    spec = dict(model="llama", kind="boundless_das", layer=layer)
    save(case, spec, inputs | dict(source_ids=sources), n_prompts, kept, eps)


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    for case in CASES:
        run_peft(case)
    run_boundless("boundless_das", layer=1)
