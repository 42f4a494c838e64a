"""Cuts the vocabularies of llama.cpp down to what its own test strings need.

    python make.py DIR          DIR holds ggml-vocab-<name>.gguf and <name>.json, made by running llama.cpp

A token that is no part of any test string can neither appear in the answer nor be joined on the way to it, so the
smaller vocabulary gives the same answers under new ids. Needs the packages gguf and numpy. Writes <name>.gguf and
<name>.json (text, ids, ids_special, ids_bare for each string) beside this file.
"""

import gzip, json, pathlib, sys, tempfile
import gguf

HERE = pathlib.Path(__file__).parent
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, BYTE = 1, 2, 3, 4, 6


def letters():
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = [b for b in range(256) if b not in printable]
    return {**{b: chr(b) for b in printable}, **{b: chr(0x100 + i) for i, b in enumerate(rest)}}


def read(directory, name):
    path = directory / f"ggml-vocab-{name}.gguf"
    if path.exists():
        return gguf.GGUFReader(path)
    with tempfile.NamedTemporaryFile() as plain:
        plain.write(gzip.decompress(path.with_suffix(".gguf.gz").read_bytes()))
        plain.flush()
        return gguf.GGUFReader(plain.name)


def make(directory, name):
    fields = read(directory, name).fields
    get = lambda key: fields[f"tokenizer.ggml.{key}"].contents() if f"tokenizer.ggml.{key}" in fields else None
    want = json.loads((directory / f"{name}.json").read_text())
    tokens, types, scores, merges = get("tokens"), get("token_type"), get("scores"), get("merges")
    is_spm = get("model") == "llama"
    table = letters()
    spell = (lambda t: " " + t.replace(" ", "▁")) if is_spm else (lambda t: "".join(table[b] for b in t.encode()))
    texts = "\0\0".join([s["text"] for s in want["strings"]])
    spelled = "\0\0".join(spell(s["text"]) for s in want["strings"])
    spelled += "".join("▁" + s["text"].replace(" ", "▁") for s in want["strings"]) if is_spm else ""
    used = {i for s in want["strings"] for key in ("ids", "ids_special", "ids_bare") for i in s[key]}
    used |= {i for key in ("bos", "eos", "unknown") if (i := get(f"{key}_token_id")) is not None}
    used |= set(want["info"]["eog"])
    keep = [
        i for i, (token, kind) in enumerate(zip(tokens, types))
        if i in used or kind == BYTE or len(token) == 1 and not is_spm
        or (token in texts if kind in (CONTROL, USER_DEFINED, UNKNOWN) else token in spelled)
    ]
    new = {old: i for i, old in enumerate(keep)}
    kept = {tokens[i] for i in keep}

    out = gguf.GGUFWriter(HERE / f"{name}.gguf", fields["general.architecture"].contents())
    out.add_name(fields["general.name"].contents())
    out.add_tokenizer_model(get("model"))
    out.add_tokenizer_pre(get("pre"))
    out.add_token_list([tokens[i] for i in keep])
    out.add_token_types([types[i] for i in keep])
    if is_spm:
        out.add_token_scores([scores[i] for i in keep])
    else:
        out.add_token_merges([m for m in merges if {*m.split(" "), m.replace(" ", "")} <= kept])
    for key in ("bos", "eos", "unknown"):
        if (i := get(f"{key}_token_id")) is not None:
            out.add_uint32(f"tokenizer.ggml.{key}_token_id", new[i])
    for key in ("add_bos_token", "add_eos_token"):
        if (flag := get(key)) is not None:
            out.add_bool(f"tokenizer.ggml.{key}", flag)
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.close()

    cases = [
        {"text": s["text"], **{key: [new[i] for i in s[key]] for key in ("ids", "ids_special", "ids_bare")}}
        for s in want["strings"]
    ]
    lines = ",\n".join(json.dumps(c, ensure_ascii=True, separators=(",", ":")) for c in cases)
    ends = [new[i] for i in want["info"]["eog"]]
    (HERE / f"{name}.json").write_text(f'{{"ends":{ends},"strings":[\n{lines}\n]}}\n')


for name in ("gpt-2", "llama-bpe", "qwen2", "phi-3"):
    make(pathlib.Path(sys.argv[1]), name)
