"""Reads a model's properties from the files of its folder, without torch.

The folder comes from a hub or a converter, with the files that transformers writes: `config.json`,
`generation_config.json`, `tokenizer.json`, `tokenizer_config.json`, `chat_template.jinja` and `*.safetensors`. No code
in a folder is ever run.
"""

import json
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from inference.engine.base import MAX_REPETITION_PENALTY, MAX_TOP_K

# The `model_type` of each architecture that is served: tiny random checkpoints of it pass the engine's contract tests.
# A model that also reads images or sound, such as Gemma 3 from 4B on, has the type of its text model in `text_config`.
TEXT_ARCHITECTURES = frozenset({"gemma3_text", "llama", "mistral", "qwen2", "qwen3"})
WITH_TEXT_MODEL = frozenset({"gemma3"})

# Values that a `config.json` may leave out, since they are defaults of transformers' configuration class: the files of
# Gemma 3 4B, 12B and 27B have neither.
LEFT_OUT = {"gemma3_text": {"vocab_size": 262_208, "max_position_embeddings": 131_072}}

CONFIG, GENERATION, TOKENIZER, TOKENIZER_CONFIG = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
)
TEMPLATE, OLD_TEMPLATE = "chat_template.jinja", "chat_template.json"
PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt")
LARGEST_JSON_BYTES = 10_000_000  # the most for a configuration; tokenizer.json, which is larger, is not read here


class CheckpointError(Exception):
    """The folder cannot be served; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class SamplingDefaults:
    """The sampling parameters of the model's authors, for requests that set none."""

    temperature: float = 0.8
    top_p: float = 0.95
    top_k: int = MAX_TOP_K
    repetition_penalty: float = 1.0


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One model folder.

    `text_config` is the configuration of its language model. `stop_token_ids` end an answer. `special_tokens` are the
    strings that a chat template may name, such as `bos_token`. `chat_template` is Jinja source, empty for a base model.
    """

    folder: Path
    model_type: str
    text_config: dict[str, Any] = field(repr=False)
    context_tokens: int
    vocabulary: int
    stop_token_ids: tuple[int, ...]
    special_tokens: dict[str, str]
    chat_template: str = field(repr=False)
    sampling: SamplingDefaults


def read_checkpoint(folder: Path, *, demands_weights: bool = True) -> Checkpoint:
    """Read a model's folder. Raises CheckpointError for one that Tally cannot serve.

    Without `demands_weights`, the weights may be missing. The result is cached until one of the files changes from
    which it was read.
    """
    _demand_files(folder, demands_weights=demands_weights)
    names = (CONFIG, GENERATION, TOKENIZER, TOKENIZER_CONFIG, TEMPLATE, OLD_TEMPLATE)
    stamps = tuple(_stamp(folder / name) for name in names)
    return _read(folder, stamps)


@lru_cache(maxsize=64)
def _read(folder: Path, _stamps: tuple[tuple[int, int], ...]) -> Checkpoint:
    config = _read_json(folder / CONFIG, is_needed=True)
    text_config = _text_config(config)
    generation = _read_json(folder / GENERATION)
    tokenizer_config = _read_json(folder / TOKENIZER_CONFIG)
    special_tokens = _special_tokens(tokenizer_config)
    return Checkpoint(
        folder=folder,
        model_type=text_config["model_type"],
        text_config=text_config,
        context_tokens=_whole_number(text_config, "max_position_embeddings"),
        vocabulary=_whole_number(text_config, "vocab_size"),
        stop_token_ids=_stop_token_ids(folder, generation, config, text_config, special_tokens),
        special_tokens=special_tokens,
        chat_template=_chat_template(folder, tokenizer_config),
        sampling=_sampling_defaults(generation),
    )


def _demand_files(folder: Path, *, demands_weights: bool) -> None:
    missing = [name for name in (CONFIG, TOKENIZER) if not (folder / name).is_file()]
    if demands_weights and not missing and not any(folder.glob("*.safetensors")):
        pickled = sorted(file.name for pattern in PICKLED for file in folder.glob(pattern))
        if pickled:
            raise CheckpointError(
                f"Its weights are pickled ({pickled[0]}), and reading a pickle can run code: save it as safetensors."
            )
        missing = ["*.safetensors"]
    if missing:
        raise CheckpointError(f"Its folder is not whole: {', '.join(missing)} missing.")


def _stamp(file: Path) -> tuple[int, int]:
    try:
        status = file.stat()
    except FileNotFoundError:
        return (0, 0)
    return (status.st_size, status.st_mtime_ns)


def _read_json(file: Path, *, is_needed: bool = False) -> dict[str, Any]:
    """The object in a file; an empty one where the file is missing and not needed."""
    try:
        if file.stat().st_size > LARGEST_JSON_BYTES:
            raise CheckpointError(f"Its {file.name} is too large to be a configuration.")
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if is_needed:
            raise CheckpointError(f"Its folder is not whole: {file.name} missing.") from None
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"Its {file.name} cannot be read ({type(error).__name__}).") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"Its {file.name} is not a JSON object.")
    return content


def _text_config(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration of the language model, with its `model_type`. Raises CheckpointError if it is not served."""
    kind = config.get("model_type")
    text: Any = config
    if kind in WITH_TEXT_MODEL:
        text = config.get("text_config")
        if not isinstance(text, dict):
            raise CheckpointError(f"Its {CONFIG} has no text_config.")
        text = {"model_type": f"{kind}_text"} | text
    if text.get("model_type") not in TEXT_ARCHITECTURES:
        if config.get("auto_map"):
            raise CheckpointError("It wants to run code of its own (auto_map), which Tally never does.")
        served = ", ".join(sorted(TEXT_ARCHITECTURES | WITH_TEXT_MODEL))
        raise CheckpointError(f"Its architecture, {kind or 'not named'}, is not served here. Served are: {served}.")
    if config.get("quantization_config") or text.get("quantization_config"):
        raise CheckpointError("Its weights are stored quantised. Use the original ones: INFERENCE_PRECISION says how.")
    whole: dict[str, Any] = LEFT_OUT.get(text["model_type"], {}) | text
    return whole


def _whole_number(config: dict[str, Any], name: str) -> int:
    value = config.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise CheckpointError(f"Its {CONFIG} says no {name}.")
    return value


def _stop_token_ids(
    folder: Path,
    generation: dict[str, Any],
    config: dict[str, Any],
    text_config: dict[str, Any],
    special_tokens: dict[str, str],
) -> tuple[int, ...]:
    """The tokens that end an answer: the end tokens of all files together. Raises CheckpointError if there are none."""
    found: set[int] = set()
    for source in (generation, config, text_config):
        named = source.get("eos_token_id")
        ids = named if isinstance(named, list) else [named]
        found.update(token for token in ids if isinstance(token, int) and not isinstance(token, bool) and token >= 0)
    if "eos_token" in special_tokens:
        token_id = _added_token_id(folder, special_tokens["eos_token"])
        found.update([] if token_id is None else [token_id])
    if not found:
        raise CheckpointError("None of its files names a token that ends an answer (eos_token_id).")
    return tuple(sorted(found))


def _added_token_id(folder: Path, content: str) -> int | None:
    """The id of an added token, by its text; None if `tokenizer_config.json` does not list added tokens.

    Newer folders do not list them; they have the id in `generation_config.json` or `config.json`.
    """
    decoder = _read_json(folder / TOKENIZER_CONFIG).get("added_tokens_decoder")
    if isinstance(decoder, dict):
        for number, token in decoder.items():
            if isinstance(token, dict) and token.get("content") == content and str(number).isdigit():
                return int(number)
    return None


def _special_tokens(tokenizer_config: dict[str, Any]) -> dict[str, str]:
    """The strings of the special tokens by name. In the file they are strings, or objects with the key `content`."""
    found = {}
    for name in ("bos_token", "eos_token", "unk_token", "pad_token"):
        token = tokenizer_config.get(name)
        if isinstance(token, dict):
            token = token.get("content")
        if isinstance(token, str):
            found[name] = token
    return found


def _chat_template(folder: Path, tokenizer_config: dict[str, Any]) -> str:
    """The source of the chat template, empty if there is none.

    Newer folders have a file for it. Others have it in `tokenizer_config.json`: one template, or several by name, of
    which `default` is for chats. Some models with images have it in `chat_template.json`.
    """
    file = folder / TEMPLATE
    if file.is_file():
        if file.stat().st_size > LARGEST_JSON_BYTES:
            raise CheckpointError(f"Its {TEMPLATE} is too large to be a template.")
        try:
            return file.read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise CheckpointError(f"Its {TEMPLATE} cannot be read ({type(error).__name__}).") from error
    template = tokenizer_config.get("chat_template") or _read_json(folder / OLD_TEMPLATE).get("chat_template")
    if isinstance(template, list):
        named = {each.get("name"): each.get("template") for each in template if isinstance(each, dict)}
        template = named.get("default")
    return template if isinstance(template, str) else ""


def _sampling_defaults(generation: dict[str, Any]) -> SamplingDefaults:
    """Read `generation_config.json`. Values that are missing, or outside Tally's bounds, get Tally's own defaults."""
    usual = SamplingDefaults()

    def number(name: str, low: float, high: float, otherwise: float) -> float:
        value = generation.get(name)
        if not isinstance(value, int | float) or isinstance(value, bool) or not low <= value <= high:
            return otherwise
        return float(value)

    has_own_draw = generation.get("do_sample") is True  # then a missing temperature or top-p is 1
    top_k = int(number("top_k", 1, MAX_TOP_K, usual.top_k))
    return SamplingDefaults(
        temperature=number("temperature", 0.0, 2.0, 1.0 if has_own_draw else usual.temperature),
        top_p=number("top_p", 1e-6, 1.0, 1.0 if has_own_draw else usual.top_p),
        top_k=top_k,
        repetition_penalty=number("repetition_penalty", 1.0, MAX_REPETITION_PENALTY, usual.repetition_penalty),
    )
