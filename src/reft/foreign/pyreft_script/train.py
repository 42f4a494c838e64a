"""Trains with pyreft what webreft trains: the same examples in the same order, the same settings, the same start.

`python train.py --model MODEL [--save trained]`, where MODEL is the name or the directory of the Transformers model.
`accelerate launch --multi_gpu --num_processes N train.py --model MODEL` does the same with N processes. Each has the
whole model and takes its share of every batch. Losses and gradients are summed over all processes, so the numbers are
those of one process.
"""

import argparse
import json
import os
import sys
from pathlib import Path

import pyreft
import torch
import transformers
from accelerate import Accelerator
from safetensors.torch import load_file

HERE = Path(__file__).parent
IGNORED = -100
SCHEDULES = {"constant": "constant_with_warmup", "linear": "linear", "cosine": "cosine"}


def intervention(settings: dict, start: dict[str, torch.Tensor]) -> torch.nn.Module:
    """An intervention of pyreft's with webreft's parameters: rotation, projection and weight [R, D], biases [R]."""
    width, rank = settings["width"], settings["rank"]
    made = getattr(pyreft, settings["class"])(
        embed_dim=width,
        low_rank_dimension=rank,
        dtype=torch.float32,
        dropout=0.0,
        act_fn=settings["act"],
        add_bias="projection_bias" in start,
    )
    source = made.learned_source
    is_constant = isinstance(source, torch.nn.Parameter)
    places = {
        "weight": None if is_constant else source.weight,
        "bias": source if is_constant else source.bias,
        "projection": getattr(getattr(made, "proj_layer", None), "weight", None),
        "projection_bias": getattr(getattr(made, "proj_layer", None), "bias", None),
    }
    with torch.no_grad():
        for name, values in start.items():
            if name == "rotation":
                turned = made.rotate_layer.parametrizations.weight
                base = torch.linalg.qr(values.T.double(), mode="complete").Q.float()
                base[:, :rank] = values.T
                turned[0].base.copy_(base)
                turned.original.copy_(-torch.eye(width, rank))
            else:
                places[name].copy_(values)
    return made


def reft_model(settings: list[dict], model: transformers.PreTrainedModel) -> pyreft.ReftModel:
    """The model with all interventions at their places."""
    start = load_file(HERE / "start.safetensors")
    places = []
    for number, it in enumerate(settings):
        prefix = f"interventions.{number}."
        own = {name.removeprefix(prefix): values for name, values in start.items() if name.startswith(prefix)}
        places.append(
            {
                "layer": it["layer"],
                "component": it["component"],
                "low_rank_dimension": it["rank"],
                "intervention": intervention(it, own),
            }
        )
    return pyreft.get_reft_model(model, pyreft.ReftConfig(representations=places))


def collate(examples: list[dict]) -> dict[str, torch.Tensor]:
    """Examples as one batch. Every row ends with padding: positions that are not used edit it, and nothing sees it."""
    length = 1 + max(len(it["input_ids"]) for it in examples)
    n_positions = max(1, max(len(positions) for it in examples for positions in it["positions"]))

    def rows(name: str, padding: int) -> torch.Tensor:
        return torch.tensor([it[name] + [padding] * (length - len(it[name])) for it in examples])

    def locations(it: dict) -> list[list[int]]:
        unused = len(it["input_ids"])
        return [positions + [unused] * (n_positions - len(positions)) for positions in it["positions"]]

    return {
        "input_ids": rows("input_ids", 0),
        "attention_mask": torch.tensor(
            [[1] * len(it["input_ids"]) + [0] * (length - len(it["input_ids"])) for it in examples]
        ),
        "labels": rows("labels", IGNORED),
        "intervention_locations": torch.tensor([locations(it) for it in examples]),
    }


def lines(name: str) -> list:
    return [json.loads(line) for line in (HERE / name).read_text().splitlines()]


def optimizer(settings: dict, parameters: list[torch.nn.Parameter]) -> torch.optim.Optimizer:
    common = {"lr": settings["learningRate"], "weight_decay": settings["weightDecay"]}
    match settings["optimizer"]:
        case "adamw":
            return torch.optim.AdamW(parameters, **common)
        case "adam":
            return torch.optim.Adam(parameters, **common)
        case "sgd":
            return torch.optim.SGD(parameters, momentum=0.9, **common)
        case other:
            raise SystemExit(f"optimizer {other!r}: expected adamw, adam or sgd")


def scheduler(settings: dict, steps: int, made: torch.optim.Optimizer) -> torch.optim.lr_scheduler.LRScheduler:
    name, warmup = SCHEDULES[settings["schedule"]], settings["warmupSteps"]
    return transformers.get_scheduler(name, made, num_warmup_steps=warmup, num_training_steps=steps)


def sum_of_losses(reft: pyreft.ReftModel, examples: list[dict], device: torch.device) -> torch.Tensor:
    """The sum over all labels of the examples."""
    batch = {name: values.to(device) for name, values in collate(examples).items()}
    locations = batch["intervention_locations"].permute(1, 0, 2).tolist()
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
    _, output = reft(inputs, unit_locations={"sources->base": (None, locations)})
    foretold = output.logits[:, :-1].float().flatten(0, 1)
    labels = batch["labels"][:, 1:].flatten()
    return torch.nn.functional.cross_entropy(foretold, labels, ignore_index=IGNORED, reduction="sum")


def add_up(accelerator: Accelerator, loss: torch.Tensor, parameters: list[torch.nn.Parameter]) -> float:
    """Sums the loss and the gradients over all processes. Gradients stay in their places; the loss is returned."""
    own = torch.cat([loss.detach().reshape(1), *(it.grad.flatten() for it in parameters)])
    total, *gradients = accelerator.reduce(own, "sum").split([1, *(it.numel() for it in parameters)])
    for it, gradient in zip(parameters, gradients, strict=True):
        it.grad.copy_(gradient.view_as(it))
    return total.item()


def backward(
    reft: pyreft.ReftModel, batch: list[dict], parameters: list[torch.nn.Parameter], accelerator: Accelerator
) -> float:
    """The mean loss over all labels of the batch; leaves its gradients. A process without a share adds zeros."""
    for it in parameters:
        it.grad = torch.zeros_like(it)
    n_labels = sum(label != IGNORED for it in batch for label in it["labels"])
    loss = torch.zeros((), device=accelerator.device)
    share = batch[accelerator.process_index :: accelerator.num_processes]
    if share:
        loss = sum_of_losses(reft, share, accelerator.device) / n_labels
        loss.backward()
    return add_up(accelerator, loss, parameters)


def train(reft: pyreft.ReftModel, settings: dict, accelerator: Accelerator) -> None:
    examples, size = lines("examples.jsonl"), settings["batchSize"]
    batches = [order[at : at + size] for order in lines("order.jsonl") for at in range(0, len(order), size)]
    parameters = reft.get_trainable_parameters()
    update = optimizer(settings, parameters)
    rate = scheduler(settings, len(batches), update)
    reft.train()
    for step, batch in enumerate(batches):
        loss = backward(reft, [examples[i] for i in batch], parameters, accelerator)
        if settings["maxGradNorm"] > 0:
            torch.nn.utils.clip_grad_norm_(parameters, settings["maxGradNorm"])
        update.step()
        (now,) = rate.get_last_lr()
        rate.step()
        if accelerator.is_main_process:
            print(f"step {step + 1} of {len(batches)}: loss {loss:.6f}, learning rate {now:.3g}", flush=True)


def refuse() -> None:
    """Ends the program for what `accelerate launch` offers and this script does not do."""
    for kind in ("DEEPSPEED", "FSDP", "MEGATRON_LM"):
        if os.environ.get(f"ACCELERATE_USE_{kind}") == "true":
            raise SystemExit(f"{kind}: each process has the whole model here; launch with --multi_gpu")
    precision = os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
    if precision != "no":
        raise SystemExit(f"--mixed_precision {precision}: the training is in float32; launch with --mixed_precision no")
    n_local, n_gpus = int(os.environ.get("LOCAL_WORLD_SIZE", "1")), torch.cuda.device_count()
    if torch.cuda.is_available() and n_local > n_gpus:
        raise SystemExit(f"{n_local} processes and {n_gpus} GPUs: each process needs a GPU of its own")


def launch() -> Accelerator:
    """This process among all that train together: on a GPU each, or all on CPUs."""
    refuse()
    accelerator = Accelerator(cpu=not torch.cuda.is_available())
    if accelerator.device.type not in ("cpu", "cuda"):
        raise SystemExit(f"{accelerator.device.type}: expected GPUs that torch calls cuda, or CPUs")
    n_processes = accelerator.num_processes
    if accelerator.is_main_process:
        print(f"{n_processes} {'process' if n_processes == 1 else 'processes'} on {accelerator.device.type}")
    if n_processes == 1 and "MASTER_ADDR" in os.environ:
        print("one process only: `accelerate launch` starts several with --multi_gpu, on CPUs, too", file=sys.stderr)
    return accelerator


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="name or directory of the Transformers model")
    parser.add_argument("--save", default="trained", help="the directory that `webreft import --from` reads")
    options = parser.parse_args()

    settings = json.loads((HERE / "settings.json").read_text())
    training = settings["training"]
    accelerator = launch()
    transformers.set_seed(training["seed"] % 2**32)  # NumPy takes no more
    model = transformers.AutoModelForCausalLM.from_pretrained(options.model, torch_dtype=torch.float32)
    reft = reft_model(settings["interventions"], model.to(accelerator.device))
    train(reft, training, accelerator)
    if accelerator.is_main_process:
        reft.save(options.save)
    accelerator.state.destroy_process_group()


if __name__ == "__main__":
    main()
