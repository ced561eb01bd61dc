"""How much memory a Gemma 3 needs, from its configuration alone: its weights, and the cache of keys and values.

Plain arithmetic: no torch, no weights. `tests/inference/test_model_memory.py` compares it with models that torch
instantiates without memory.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Precision = Literal["float32", "bfloat16", "int8", "int4"]
PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16", "int8", "int4")

# Bytes a parameter of the matrices inside the layers. Four bits: half a byte, and a 32-bit scale for every 64
# parameters (the block size of bitsandbytes' nf4).
MATRIX_BYTES: dict[Precision, float] = {"float32": 4, "bfloat16": 2, "int8": 1, "int4": 0.5 + 4 / 64}
# Work space of a running engine besides weights and cache: activations and logits of one step, buffers of libraries.
WORKSPACE_BYTES = 256 * 1024**2


@dataclass(frozen=True, slots=True)
class Architecture:
    """The sizes of a Gemma 3 language model. Its output head is its embedding; it has no biases."""

    vocabulary: int
    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int

    @property
    def embedding_parameters(self) -> int:
        """Of the embedding, which is the output head too."""
        return self.vocabulary * self.hidden

    @property
    def matrix_parameters(self) -> int:
        """Of the matrices inside the layers: query, key, value, output, and the three of the feed-forward part."""
        attention = self.hidden * self.head_dim * (2 * self.heads + 2 * self.kv_heads)
        return self.layers * (attention + 3 * self.hidden * self.intermediate)

    @property
    def norm_parameters(self) -> int:
        """Four norms of the hidden size a layer, one of the head's size for queries and for keys, one at the end."""
        return self.layers * (4 * self.hidden + 2 * self.head_dim) + self.hidden

    @property
    def parameters(self) -> int:
        """All of them."""
        return self.embedding_parameters + self.matrix_parameters + self.norm_parameters

    def weight_bytes(self, precision: Precision) -> int:
        """Of the loaded model. In 8 and 4 bits the embedding stays in bfloat16, and 8 bits have the head once more:
        on a processor it is packed apart."""
        matrices = int(self.matrix_parameters * MATRIX_BYTES[precision])
        if precision in ("float32", "bfloat16"):
            return matrices + int((self.embedding_parameters + self.norm_parameters) * MATRIX_BYTES[precision])
        head = self.embedding_parameters if precision == "int8" else 0
        return matrices + 2 * self.embedding_parameters + head + 4 * self.norm_parameters

    def cache_bytes(self, precision: Precision, tokens: int, *, on_cpu: bool = False) -> int:
        """Of the keys and values of `tokens` tokens in every layer, the unit in which the batcher sizes its cache.

        A conversation takes less than its length: most layers of a Gemma 3 keep only a window. The cache has the type
        the model computes in: float32 for float32, and for 8 bits on a processor; bfloat16 otherwise.
        """
        is_wide = precision == "float32" or (precision == "int8" and on_cpu)
        return tokens * 2 * self.layers * self.kv_heads * self.head_dim * (4 if is_wide else 2)

    def total_bytes(self, precision: Precision, tokens: int, *, on_cpu: bool = False) -> int:
        """Weights, cache and work space of one engine."""
        return self.weight_bytes(precision) + self.cache_bytes(precision, tokens, on_cpu=on_cpu) + WORKSPACE_BYTES


# The `config.json` of each model on the hub (for 12B its `text_config`) as published by Google with the Gemma 3
# technical report, arXiv 2503.19786: 270M from huggingface.co/google/gemma-3-270m, the others from gemma-3-1b-it and
# gemma-3-12b-it. 12B has 64 more entries in its vocabulary, for images.
PUBLISHED = {
    "gemma-3-270m": Architecture(262_144, 640, 2_048, 18, 4, 1, 256),
    "gemma-3-1b": Architecture(262_144, 1_152, 6_912, 26, 4, 1, 256),
    "gemma-3-12b": Architecture(262_208, 3_840, 15_360, 48, 16, 8, 256),
}


def read_architecture(folder: Path) -> Architecture:
    """Read `config.json` of a model's folder; of a multimodal one, the language model's part.

    Raises OSError, ValueError (not a JSON object) or KeyError (not a Gemma 3).
    """
    config: Any = json.loads((folder / "config.json").read_text())
    text: Any = config.get("text_config", config) if isinstance(config, dict) else None
    if not isinstance(text, dict):
        raise ValueError("not an object")
    if text.get("model_type", "gemma3_text") != "gemma3_text":
        raise KeyError("gemma3_text")
    return Architecture(
        vocabulary=text["vocab_size"],
        hidden=text["hidden_size"],
        intermediate=text["intermediate_size"],
        layers=text["num_hidden_layers"],
        heads=text["num_attention_heads"],
        kv_heads=text["num_key_value_heads"],
        head_dim=text["head_dim"],
    )


def for_people(size_bytes: int) -> str:
    """Gigabytes of 10^9 bytes, as sellers of GPUs count, with one digit; megabytes below one."""
    return f"{size_bytes / 1e9:.1f} GB" if size_bytes >= 1e9 else f"{size_bytes / 1e6:.0f} MB"
