"""Writes tokenizer.json of the golden model's vocabulary, and the ids that Hugging Face's tokenizers gives with each of its forms.

    pip install gguf tokenizers && python make.py

The merges are those of transformers' generate_merges: every way to make a token of two, the best score first.
"""
import json
from pathlib import Path

import gguf
import tokenizers
from tokenizers import Tokenizer

HERE = Path(__file__).parent
PREPEND = {"normalizer": {"type": "Sequence", "normalizers": [
    {"type": "Prepend", "prepend": "▁"},
    {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
]}, "pre_tokenizer": None}


def metaspace(**settings):
    return {"normalizer": None, "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", **settings}}


FORMS = {
    "prepend": PREPEND,
    "metaspace, first": metaspace(prepend_scheme="first", split=False),
    "metaspace, always": metaspace(prepend_scheme="always", split=False),
    "metaspace, never": metaspace(prepend_scheme="never", split=False),
    "metaspace, split": metaspace(prepend_scheme="always", split=True),
    "metaspace, old": metaspace(add_prefix_space=True),
}
TEXTS = ["", " ", "one", " one", "  two  words ", "a<s> b</s>c", "<s>one", "<s> one", "▁x ▁ y", "tab\tand\nline", "héllo wörld ☃ 🙂", "  ",
         "the cat sat on the mat", "</s></s> end", "1 + 2 = 3", "x   y"]


def vocabulary():
    fields = gguf.GGUFReader(HERE / "../golden/llama/model-f32.gguf").fields
    part = lambda key: [fields[f"tokenizer.ggml.{key}"].parts[at] for at in fields[f"tokenizer.ggml.{key}"].data]
    tokens = [bytes(token).decode() for token in part("tokens")]
    scores = [float(score[0]) for score in part("scores")]
    types = [int(kind[0]) for kind in part("token_type")]
    return tokens, scores, types


def model():
    tokens, scores, types = vocabulary()
    ids = {token: id for id, token in enumerate(tokens)}
    merges = []
    for token, score in zip(tokens, scores):
        for at in range(1, len(token)):
            if token[:at] in ids and token[at:] in ids:
                merges.append((-score, -at, at - len(token), token[:at], token[at:]))
    merges.sort(key=lambda merge: merge[:3])
    added = [{"id": id, "content": tokens[id], "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
              "special": True} for id, kind in enumerate(types) if kind in (2, 3)]
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added,
        "post_processor": {"type": "TemplateProcessing",
                           "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
                           "pair": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
                           "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}},
        "decoder": None,
        "model": {"type": "BPE", "dropout": None, "unk_token": "<unk>", "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": True, "byte_fallback": True, "ignore_merges": False, "vocab": ids,
                  "merges": [f"{a} {b}" for *_, a, b in merges]},
    }


def main():
    whole = model()
    (HERE / "tokenizer.json").write_text(json.dumps({**whole, **PREPEND}, ensure_ascii=False) + "\n")
    forms = {}
    for name, form in FORMS.items():
        tokenizer = Tokenizer.from_str(json.dumps({**whole, **form}))
        forms[name] = {**form, "ids": [tokenizer.encode(text).ids for text in TEXTS]}
    lines = [f"{json.dumps(name)}: {json.dumps(form, ensure_ascii=False)}" for name, form in forms.items()]
    head = f'"tokenizers": "{tokenizers.__version__}",\n"texts": {json.dumps(TEXTS, ensure_ascii=False)}'
    (HERE / "cases.json").write_text("{%s,\n\"forms\": {\n%s\n}}\n" % (head, ",\n".join(lines)))


main()
