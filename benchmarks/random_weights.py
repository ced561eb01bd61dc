"""Speed without the real weights: a checkpoint of a model's real shapes, filled with noise.

`python -m benchmarks.engine --random-weights gemma-3-1b` makes one in a temporary folder and measures the engine on it:
what a model says depends on its weights, what a token costs only on their sizes. The shapes are those of
`inference.weights.memory.PUBLISHED`, or of a `config.json`.
"""

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import AutoConfig, AutoModelForCausalLM

from inference.engine.precision import Chosen, choose_precision
from inference.weights.memory import PUBLISHED, WORKSPACE_BYTES, Architecture, for_people, read_architecture

SHARD_BYTES = 2 * 10**9  # of the weights: what is held in memory while they are written
NOISE = 2**22  # numbers that repeat: drawing billions takes longer than writing them
STOP_TOKEN_ID = 1
CACHE_TOKENS = 128 * 128  # of the largest batch that is measured


class NotEnoughRoom(Exception):
    """This machine cannot hold the model; the text says what it needs."""


def config_of(name: str) -> dict[str, Any]:
    """The configuration of a published model by its key, or of a `config.json` by its path. Raises ValueError."""
    if name in PUBLISHED:
        text = _published_config(PUBLISHED[name])
    elif Path(name).is_file():
        config = json.loads(Path(name).read_text())
        text = config.get("text_config", config)
    else:
        raise ValueError(f"{name} is neither one of {', '.join(PUBLISHED)} nor a file.")
    whole: dict[str, Any] = AutoConfig.for_model(**text).to_dict()  # a file may leave out what is usual
    return whole | {"eos_token_id": STOP_TOKEN_ID}


@contextmanager
def random_checkpoint(name: str) -> Iterator[Path]:
    """A folder with a model of this name's shapes, for as long as it is needed. Raises NotEnoughRoom, ValueError."""
    with tempfile.TemporaryDirectory(prefix="random-weights-") as root:
        folder, config = Path(root), config_of(name)
        (folder / "config.json").write_text(json.dumps(config))
        demand_room(read_architecture(folder), folder)
        _write_tokenizer(folder, config["vocab_size"])
        write_weights(folder, config)
        yield folder


def demand_room(architecture: Architecture, folder: Path) -> None:
    """Raises NotEnoughRoom where the model fits neither the disk of `folder` nor the memory it would run in."""
    stored = 2 * architecture.parameters
    free = shutil.disk_usage(folder).free
    if free < stored + SHARD_BYTES:
        raise NotEnoughRoom(f"Its weights take {for_people(stored)}, and {folder} has {for_people(free)} free.")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    precision = choose_precision("auto", device)
    need = architecture.total_bytes(precision, CACHE_TOKENS, on_cpu=device == "cpu")
    if device == "cpu":  # the plain model in bfloat16, and the engine's while it is read and packed
        need = max(need, stored + architecture.weight_bytes("int8")) + WORKSPACE_BYTES
        free = psutil.virtual_memory().available
    else:
        free = torch.cuda.mem_get_info()[0]
    if need > free:
        raise NotEnoughRoom(f"It needs {for_people(need)} of memory, and {for_people(free)} are free here.")


def write_weights(folder: Path, config: dict[str, Any]) -> None:
    """Noise in the place of every parameter, bfloat16, in files of about SHARD_BYTES: never more than one in memory."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**config))
    sizes = {name: parameter.shape for name, parameter in model.named_parameters()}  # a tied head is not among them
    noise = torch.randn(NOISE, generator=torch.Generator().manual_seed(0)).mul(0.02).bfloat16()
    placed: dict[str, str] = {}
    shard: dict[str, torch.Tensor] = {}
    for name, shape in sizes.items():
        shard[name] = _fill(noise, shape, is_norm="norm" in name, is_gemma=config["model_type"] == "gemma3_text")
        if sum(tensor.nbytes for tensor in shard.values()) >= SHARD_BYTES or name == list(sizes)[-1]:
            file = f"model-{len(set(placed.values())):05}.safetensors"
            save_file(shard, folder / file, metadata={"format": "pt"})
            placed |= dict.fromkeys(shard, file)
            shard = {}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": placed}))


def bytes_read_a_step(architecture: Architecture, precision: Chosen) -> int:
    """What one decode step reads of the weights, whatever the batch: all matrices and the output head once."""
    numbers = architecture.matrix_parameters + architecture.embedding_parameters
    return int(numbers * {"float32": 4, "bfloat16": 2, "int8": 1, "int4": 0.5625}[precision])


def gpu_memory_speed() -> float:
    """Bytes a second that a GPU reads from its memory."""
    numbers = torch.ones(2**29, device="cuda")
    best = 0.0
    for _ in range(6):
        before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        before.record()
        numbers.sum()
        after.record()
        after.synchronize()
        best = max(best, numbers.nbytes / (before.elapsed_time(after) / 1000))
    return best


def _fill(noise: torch.Tensor, shape: torch.Size, *, is_norm: bool, is_gemma: bool) -> torch.Tensor:
    """Noise of this shape; a norm is as when a model is made, which Gemma stores less one."""
    if is_norm:
        return torch.full(shape, 0.0 if is_gemma else 1.0, dtype=torch.bfloat16)
    size = shape.numel()
    return noise.repeat(-(-size // NOISE))[:size].view(shape).contiguous()


def _write_tokenizer(folder: Path, vocabulary: int) -> None:
    words = {f"word{number}": number for number in range(vocabulary)}
    Tokenizer(WordLevel(words, unk_token="word0")).save(str(folder / "tokenizer.json"))
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": STOP_TOKEN_ID}))


def _published_config(architecture: Architecture) -> dict[str, Any]:
    config = {
        "model_type": "gemma3_text" if architecture.norms == 4 else "llama",
        "vocab_size": architecture.vocabulary,
        "hidden_size": architecture.hidden,
        "intermediate_size": architecture.intermediate,
        "num_hidden_layers": architecture.layers,
        "num_attention_heads": architecture.heads,
        "num_key_value_heads": architecture.kv_heads,
        "head_dim": architecture.head_dim,
        "tie_word_embeddings": architecture.is_tied,
    }
    if config["model_type"] == "gemma3_text":
        config |= {"sliding_window": 512 if architecture.hidden < 2_000 else 1_024, "query_pre_attn_scalar": 256}
    return config
