"""The chat format: special tokens, the template, and conversations as token ids."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

BOS, END, SYSTEM, USER, ASSISTANT = SPECIALS = ["<|bos|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"]
BOS_ID, END_ID, SYSTEM_ID, USER_ID, ASSISTANT_ID = range(5)

TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


def pieces(document: dict[str, Any]) -> Iterator[str]:
    """The texts of a conversation between its special tokens, for the tokenizer to learn from."""
    yield document["system"]
    for turn in document["turns"]:
        yield " ".join(p for p in (turn["before"], turn["user"], turn["after"]) if p)
        yield turn["answer"]


def learn_tokenizer(texts: Iterable[str], n_vocab: int) -> Tokenizer:
    """Byte-level BPE as GPT-2 has it: all 256 bytes, words with the space before them."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=n_vocab, special_tokens=SPECIALS, initial_alphabet=alphabet, show_progress=False
        ),
    )
    return tokenizer


def load_tokenizer(work: Path) -> Tokenizer:
    return Tokenizer.from_file(str(work / "tokenizer.json"))


def prompt_ids(tokenizer: Tokenizer, user: str, system: str = "") -> list[int]:
    """What the template renders for one question, up to and with <|assistant|>."""
    head = [SYSTEM_ID, *tokenizer.encode(system).ids, END_ID] if system else []
    return [BOS_ID, *head, USER_ID, *tokenizer.encode(user).ids, END_ID, ASSISTANT_ID]
