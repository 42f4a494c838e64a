"""Trains with pyreft what webreft trains: the same examples in the same order, the same settings, the same start.

`python train.py --model MODEL [--save trained]`, where MODEL is the name or the directory of the Transformers model.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import pyreft
import torch
import transformers
from pyreft.reft_trainer import make_dataloader
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


class Order(torch.utils.data.Sampler):
    """The examples in webreft's order, another one in each epoch."""

    def __init__(self, epochs: list[list[int]]) -> None:
        self.n_examples = len(epochs[0])
        self.epochs = iter(epochs)

    def __iter__(self) -> Iterator[int]:
        return iter(next(self.epochs))

    def __len__(self) -> int:
        return self.n_examples


class Trainer(pyreft.ReftTrainerForCausalLM):
    """pyreft's trainer, but for the order of the examples."""

    def get_train_dataloader(self) -> torch.utils.data.DataLoader:
        order = Order(lines("order.jsonl"))
        size = self.args.per_device_train_batch_size
        return make_dataloader(self.train_dataset, size, self.data_collator, shuffle=False, sampler=order)


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, help="name or directory of the Transformers model")
    parser.add_argument("--save", default="trained", help="the directory that `webreft import --from` reads")
    options = parser.parse_args()

    settings = json.loads((HERE / "settings.json").read_text())
    training = settings["training"]
    seed = training["seed"] % 2**32  # NumPy takes no more
    transformers.set_seed(seed)

    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = transformers.AutoModelForCausalLM.from_pretrained(options.model, torch_dtype=torch.float32).to(device)
    reft = reft_model(settings["interventions"], model)
    reft.print_trainable_parameters()
    arguments = transformers.TrainingArguments(
        output_dir=f"{options.save}-runs",
        num_train_epochs=training["epochs"],
        per_device_train_batch_size=training["batchSize"],
        learning_rate=training["learningRate"],
        lr_scheduler_type=SCHEDULES[training["schedule"]],
        warmup_steps=training["warmupSteps"],
        max_grad_norm=training["maxGradNorm"],
        seed=seed,
        use_cpu=device == "cpu",
        logging_steps=1,
        save_strategy="no",
        remove_unused_columns=False,
        report_to="none",
    )
    trainer = Trainer(
        model=reft,
        args=arguments,
        train_dataset=lines("examples.jsonl"),
        data_collator=collate,
        optimizers=(optimizer(training, reft.get_trainable_parameters()), None),
    )
    trainer.train()
    reft.save(options.save)


if __name__ == "__main__":
    main()
