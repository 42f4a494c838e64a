"""Runs what `webreft export --to pyreft-script` writes, in one process and in several, and imports what it trains.

`python check.py --webreft PROGRAM --work FOLDER`, by a Python that has what the script's requirements.txt names, pyreft
and gguf. `cargo xtask script` makes one. All processes are on CPUs and talk by gloo.
"""

import argparse
import importlib.util
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import torch
import transformers
from gguf import GGUFReader

HERE = Path(__file__).parent
GOLDEN = HERE.parent / "golden" / "llama"
GGUF, TRANSFORMERS = GOLDEN / "model-f32.gguf", GOLDEN / "model"
EXAMPLES = HERE / "examples.jsonl"  # seven: no batch size between 2 and 6 divides them
SPECIAL = ["<unk>", "<s>", "</s>"]
EOS = SPECIAL.index("</s>")
MAX_TOKENS = 16

LOSS = 1e-4
# Adam moves a number by the rate times a ratio of gradients. More processes sum them in another order: f32 keeps such
# sums right to some 1e-6 of their terms, and a ratio to this where terms cancel by two digits. Steps add up: the bound
# is this times the sum of all rates.
ROUNDING = 1e-4


@dataclass
class Case:
    """A training, and what `webreft import` cannot know of it."""

    name: str
    config: dict
    options: dict
    positions: str
    act: str = "linear"

    def train(self) -> list[str]:
        return [word for name, value in self.options.items() for word in (f"--{name}", str(value))]

    def unsaved(self) -> list[str]:
        return [f"--positions={self.positions}", "--act", self.act]


CASES = [
    # Two processes share 3 examples, and the last batch of an epoch is 1: one process has none.
    Case(
        "loreft",
        {"kind": "loreft", "layers": [1, 3], "rank": 4, "positions": "f2+l2"},
        {
            "epochs": 4,
            "batch-size": 3,
            "learning-rate": 0.02,
            "schedule": "linear",
            "warmup-steps": 2,
            "max-grad-norm": 1,
            "seed": 7,
        },
        "f2+l2",
    ),
    # Two processes share 5 examples, then 2.
    Case(
        "noreft",
        {"kind": "noreft", "layers": [0, 2], "rank": 3, "positions": "l3", "act": "gelu", "addBias": True},
        {
            "epochs": 5,
            "batch-size": 5,
            "learning-rate": 0.01,
            "schedule": "cosine",
            "weight-decay": 0.1,
            "seed": 11,
        },
        "l3",
        "gelu",
    ),
]


class Webreft:
    """The command line, on the CPU, with the golden model."""

    def __init__(self, program: Path) -> None:
        self.program = program

    def __call__(self, command: str, *words: str | Path) -> list[dict]:
        line = [self.program, command, "--json", "--backend", "cpu", "--model", GGUF, *words]
        done = subprocess.run(line, check=True, stdout=subprocess.PIPE, text=True)
        return [json.loads(it) for it in done.stdout.splitlines()]

    def export(self, case: Case, folder: Path) -> list[float]:
        """Trains, and writes the script of the training; the losses."""
        config, saved = folder / "config.json", folder / "webreft.safetensors"
        config.write_text(json.dumps(case.config))
        steps = self("train", "--examples", EXAMPLES, "--config", config, "--save", saved, *case.train())
        self("export", "--to", "pyreft-script", "--reft", saved, "--examples", EXAMPLES, "--save", folder / "script")
        return [it["loss"] for it in steps if "loss" in it]


@dataclass
class Trained:
    """What a run of train.py printed and saved."""

    n_processes: int
    losses: list[float]
    rates: list[float]
    saved: Path


def start(script: Path, folder: Path, launcher: list[str]) -> subprocess.Popen:
    """Starts train.py in a folder, on CPUs: by Python alone, or by `accelerate launch` with these options."""
    folder.mkdir(parents=True)
    accelerate = ["-m", "accelerate.commands.launch", *launcher] if launcher else []
    line = [sys.executable, *accelerate, script / "train.py", "--model", TRANSFORMERS, "--save", "trained"]
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    out = subprocess.PIPE
    return subprocess.Popen(line, cwd=folder, env=environment, text=True, stdout=out, stderr=subprocess.STDOUT)


def ended(process: subprocess.Popen) -> str:
    """What a process printed, once it ended. One that hangs is an error."""
    try:
        return process.communicate(timeout=300)[0]
    finally:
        process.kill()


def train(script: Path, folder: Path, *launchers: list[str]) -> Trained:
    """Runs train.py by one launcher, or by several at once, each in its own folder. The first one prints and saves."""
    processes = [start(script, folder / str(number), it) for number, it in enumerate(launchers)]
    outputs = [ended(it) for it in processes]
    for it, output in zip(processes, outputs, strict=True):
        assert it.returncode == 0, f"{it.args} ended with {it.returncode}:\n{output}"
    for number, output in enumerate(outputs[1:], 1):
        assert "step" not in output, f"{number} printed:\n{output}"
        assert not any((folder / str(number)).iterdir()), f"{number} saved"
    steps = re.findall(r"^step \d+ of (\d+): loss (\S+), learning rate (\S+)$", outputs[0], re.MULTILINE)
    assert steps and all(int(total) == len(steps) for total, _, _ in steps), outputs[0]
    n_processes = re.search(r"^(\d+) process(?:es)? on cpu$", outputs[0], re.MULTILINE)
    assert n_processes, outputs[0]
    losses, rates = [float(loss) for _, loss, _ in steps], [float(rate) for _, _, rate in steps]
    return Trained(int(n_processes[1]), losses, rates, folder / "0" / "trained")


def launchers() -> dict[str, list[list[str]]]:
    """Two processes of one machine, and two machines of one process each, which are both this one."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = ["--main_process_port", str(probe.getsockname()[1])]
    two = ["--multi_gpu", "--num_processes", "2", *port]
    machine = [*two, "--num_machines", "2", "--main_process_ip", "127.0.0.1", "--machine_rank"]
    return {"processes": [two], "machines": [[*machine, "0"], [*machine, "1"]]}


def largest_difference(one: list[float], other: list[float]) -> float:
    """NaN if any number is."""
    assert len(one) == len(other), f"{len(one)} and {len(other)} numbers"
    left, right = (torch.tensor(it, dtype=torch.float64) for it in (one, other))
    return (left - right).abs().max().item()


def numbers(saved: Path) -> dict[str, list[float]]:
    """All parameters in a directory that pyreft saved."""
    files = {path.name: torch.load(path, weights_only=True) for path in saved.glob("intkey_*.bin")}
    return {f"{file} {name}": it.flatten().tolist() for file, state in files.items() for name, it in state.items()}


def compare(name: str, one: Trained, other: Trained) -> None:
    """Losses and parameters of several processes against those of one."""
    assert (one.n_processes, other.n_processes) == (1, 2), (one.n_processes, other.n_processes)
    loss = largest_difference(one.losses, other.losses)
    theirs, ours = numbers(other.saved), numbers(one.saved)
    assert ours and ours.keys() == theirs.keys(), f"{ours.keys()} and {theirs.keys()}"
    moved = max(largest_difference(ours[it], theirs[it]) for it in ours)
    bound = ROUNDING * sum(one.rates)
    print(f"{name}: losses differ by {loss:.1e} at most, parameters by {moved:.1e} of {bound:.1e}")
    assert loss <= LOSS and moved <= bound, f"{name}: too much"


def texts(tokens: list[list[int]]) -> list[str]:
    """Answers as text, by the GGUF file's vocabulary: pieces of SentencePiece, and bytes. Special ones are no text."""
    field = GGUFReader(GGUF).fields["tokenizer.ggml.tokens"]
    pieces = [bytes(field.parts[at]).decode() for at in field.data]

    def as_bytes(piece: str) -> bytes:
        if piece in SPECIAL:
            return b""
        byte = re.fullmatch("<0x(..)>", piece)
        return bytes.fromhex(byte[1]) if byte else piece.replace("\u2581", " ").encode()

    return [b"".join(as_bytes(pieces[it]) for it in answer).decode(errors="replace") for answer in tokens]


def answers_of_pyreft(script: Path, saved: Path) -> list[str]:
    """Greedy answers to the prompts of all examples, by pyreft's model with what was saved."""
    made = load_train(script)
    settings = json.loads((script / "settings.json").read_text())
    model = transformers.AutoModelForCausalLM.from_pretrained(TRANSFORMERS, torch_dtype=torch.float32)
    reft = made.reft_model(settings["interventions"], model)
    for key, it in reft.interventions.items():  # pyvene's own function loads onto cuda:0 only
        it.load_state_dict(torch.load(saved / f"intkey_{key}.bin", weights_only=True))
    answers = []
    for example in made.lines("examples.jsonl"):
        n_prompt = next(at for at, label in enumerate(example["labels"]) if label != made.IGNORED)
        prompt = torch.tensor([example["input_ids"][:n_prompt]])
        _, output = reft.generate(
            {"input_ids": prompt, "attention_mask": torch.ones_like(prompt)},
            unit_locations={"sources->base": (None, [[it] for it in example["positions"]])},
            intervene_on_prompt=True,
            max_new_tokens=MAX_TOKENS,
            do_sample=False,
            eos_token_id=EOS,
        )
        answer = output[0, n_prompt:].tolist()
        answers.append(answer[: answer.index(EOS)] if EOS in answer else answer)
    return texts(answers)


def load_train(script: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("train", script / "train.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def answers_of_webreft(webreft: Webreft, case: Case, saved: Path) -> list[str]:
    """The same answers by webreft, which imports what was saved."""
    imported = saved.with_suffix(".safetensors")
    webreft("import", "--from", saved, "--save", imported, *case.unsaved())
    prompts = [json.loads(line)["prompt"] for line in EXAMPLES.read_text().splitlines()]
    words = [word for prompt in prompts for word in ("--prompt", prompt)]
    answers = webreft("generate", "--reft", imported, "--max-tokens", str(MAX_TOKENS), *words)
    return [it["text"] for it in answers]


def check(webreft: Webreft, case: Case, folder: Path) -> None:
    folder.mkdir()
    script = folder / "script"
    losses = webreft.export(case, folder)
    one = train(script, folder / "one", [])
    off = largest_difference(losses, one.losses)
    print(f"{case.name}: losses {one.losses[0]} to {one.losses[-1]}, webreft's differ by {off:.1e} at most")
    assert off <= LOSS, f"{case.name}: webreft's losses are others"
    for name, them in launchers().items():
        several = train(script, folder / name, *them)
        compare(f"{case.name}, two {name}", one, several)
        expected, got = answers_of_pyreft(script, several.saved), answers_of_webreft(webreft, case, several.saved)
        assert got == expected, f"{case.name}, two {name}: {got}, and pyreft's model says {expected}"
        print(f"{case.name}, two {name}: {len(got)} answers are pyreft's, the first {got[0]!r}")


def check_words(script: Path, folder: Path) -> None:
    """The script refuses what it does not do, and warns where one process runs in place of two."""
    two = ["--num_processes", "2"]
    for launcher, words in [
        ([*two, "--mixed_precision", "bf16"], "launch with --mixed_precision no"),
        ([*two, "--use_fsdp"], "launch with --multi_gpu"),
    ]:
        process = start(script, folder / launcher[-1], launcher)
        output = ended(process)
        assert process.returncode != 0 and words in output, output
    process = start(script, folder / "cpu", [*two, "--cpu"])
    output = ended(process)
    assert process.returncode == 0 and "one process only" in output, output
    print("mixed precision and FSDP are refused, and --cpu without --multi_gpu is warned of")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--webreft", type=Path, required=True, help="the command line's program")
    parser.add_argument("--work", type=Path, required=True, help="a folder for what is made; what is there is removed")
    options = parser.parse_args()
    shutil.rmtree(options.work, ignore_errors=True)
    options.work.mkdir(parents=True)
    work, webreft = options.work.resolve(), Webreft(options.webreft.resolve())
    for case in CASES:
        check(webreft, case, work / case.name)
    check_words(work / CASES[0].name / "script", work / "words")


if __name__ == "__main__":
    main()
