"""Computes how much memory a model's weights and its cache of keys and values need, from its configuration alone.

It is plain arithmetic, without torch and without the weights. `tests/inference/weights/test_memory.py` compares the
results with models that torch instantiates without memory.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Precision = Literal["float32", "bfloat16", "int8", "int4"]
PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16", "int8", "int4")

# Bytes per parameter of the matrices inside the layers. With four bits: half a byte, and a 32-bit scale for every 64
# parameters (the block size of bitsandbytes' nf4).
MATRIX_BYTES: dict[Precision, float] = {"float32": 4, "bfloat16": 2, "int8": 1, "int4": 0.5 + 4 / 64}
# The memory of a running engine besides weights and cache: activations and logits of one step, buffers of libraries.
WORKSPACE_BYTES = 256 * 1024**2


@dataclass(frozen=True, slots=True)
class Architecture:
    """The sizes of a language model with an architecture like Llama's.

    `norms` is the number of norms of the hidden size in a layer. With `head_norms`, queries and keys have one more norm
    each, of a head's size, or of all heads' size together (`norms_all_heads`). There may be biases of query, key and
    value (`qkv_biases`), of the attention's output, and of the three matrices of the feed-forward part.
    """

    vocabulary: int
    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    is_tied: bool = True
    norms: int = 4
    head_norms: bool = True
    norms_all_heads: bool = False
    qkv_biases: bool = False
    output_bias: bool = False
    mlp_biases: bool = False

    @property
    def embedding_parameters(self) -> int:
        """The number of parameters of the embedding, which is also the output head if they are tied."""
        return self.vocabulary * self.hidden

    @property
    def head_parameters(self) -> int:
        """The number of parameters of a separate output head; 0 if it is tied to the embedding."""
        return 0 if self.is_tied else self.embedding_parameters

    @property
    def matrix_parameters(self) -> int:
        """The number of parameters of the matrices in the layers: query, key, value, output, three of feed-forward."""
        attention = self.hidden * self.head_dim * (2 * self.heads + 2 * self.kv_heads)
        return self.layers * (attention + 3 * self.hidden * self.intermediate)

    @property
    def norm_parameters(self) -> int:
        """The number of parameters that stay in 32 bits: all norms, with the last one, and all biases."""
        queries, keys = self.heads * self.head_dim, self.kv_heads * self.head_dim
        layer = self.norms * self.hidden
        if self.head_norms:
            layer += queries + keys if self.norms_all_heads else 2 * self.head_dim
        layer += self.qkv_biases * (queries + 2 * keys) + self.output_bias * self.hidden
        layer += self.mlp_biases * (2 * self.intermediate + self.hidden)
        return self.layers * layer + self.hidden

    @property
    def parameters(self) -> int:
        return self.embedding_parameters + self.head_parameters + self.matrix_parameters + self.norm_parameters

    def weight_bytes(self, precision: Precision) -> int:
        """The bytes of the loaded model's weights.

        In 8 and 4 bits, the embedding and the head stay in bfloat16. But in 8 bits on a CPU, the head is packed in 8
        bits: a tied one in addition to its embedding, a separate one in place of the original.
        """
        matrices = int(self.matrix_parameters * MATRIX_BYTES[precision])
        if precision in ("float32", "bfloat16"):
            return int(self.parameters * MATRIX_BYTES[precision])
        head = self.embedding_parameters if precision == "int8" and self.is_tied else 2 * self.head_parameters
        return matrices + 2 * self.embedding_parameters + head + 4 * self.norm_parameters

    def cache_bytes(self, precision: Precision, tokens: int, *, on_cpu: bool = False) -> int:
        """The bytes of the keys and values of `tokens` tokens in every layer: the batcher sizes its cache like this.

        A conversation may take less than its length, since most layers of a Gemma 3 keep only a window. The cache has
        the type in which the model computes: float32 for float32, and for 8 bits on a CPU; bfloat16 otherwise.
        """
        is_wide = precision == "float32" or (precision == "int8" and on_cpu)
        return tokens * 2 * self.layers * self.kv_heads * self.head_dim * (4 if is_wide else 2)

    def total_bytes(self, precision: Precision, tokens: int, *, on_cpu: bool = False) -> int:
        """The bytes of weights, cache and work space of one engine."""
        return self.weight_bytes(precision) + self.cache_bytes(precision, tokens, on_cpu=on_cpu) + WORKSPACE_BYTES


# The `config.json` of each model on the hub (from 4B on its `text_config`) as published by Google with the Gemma 3
# technical report, arXiv 2503.19786: 270M from huggingface.co/google/gemma-3-270m, the others from those with "-it".
# From 4B on there are 64 more entries in the vocabulary, for images. SmolLM2: HuggingFaceTB/SmolLM2-135M-Instruct.
PUBLISHED = {
    "gemma-3-270m": Architecture(262_144, 640, 2_048, 18, 4, 1, 256),
    "gemma-3-1b": Architecture(262_144, 1_152, 6_912, 26, 4, 1, 256),
    "gemma-3-4b": Architecture(262_208, 2_560, 10_240, 34, 8, 4, 256),
    "gemma-3-12b": Architecture(262_208, 3_840, 15_360, 48, 16, 8, 256),
    "gemma-3-27b": Architecture(262_208, 5_376, 21_504, 62, 32, 16, 128),
    "smollm2-135m": Architecture(49_152, 576, 1_536, 30, 9, 3, 64, norms=2, head_norms=False),
}


@dataclass(frozen=True, slots=True)
class _Traits:
    """Facts about an architecture that are in its code, not in `config.json`. `qkv_biases` None: `config.json` says.

    `defaults` are values of its configuration class, by name. Files may leave out values that are equal to the default,
    for example Gemma 3 4B's the number of heads.
    """

    is_tied: bool
    norms: int = 2
    head_norms: bool = False
    norms_all_heads: bool = False
    qkv_biases: bool | None = None
    defaults: Mapping[str, int] = field(default_factory=dict)


# By `model_type`, as transformers builds them. `is_tied` counts if a configuration has no `tie_word_embeddings`.
TRAITS = {
    "gemma3_text": _Traits(
        is_tied=True,
        norms=4,
        head_norms=True,
        defaults={"vocab_size": 262_208, "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256},
    ),
    "llama": _Traits(is_tied=False),
    "mistral": _Traits(is_tied=False, qkv_biases=False),
    "qwen2": _Traits(is_tied=False, qkv_biases=True),
    "qwen3": _Traits(is_tied=False, head_norms=True, defaults={"head_dim": 128}),
    "granite": _Traits(is_tied=False),
    "olmo2": _Traits(is_tied=False, head_norms=True, norms_all_heads=True),
    "phi3": _Traits(is_tied=False, qkv_biases=False),
    "smollm3": _Traits(is_tied=True),
}


def read_architecture(folder: Path) -> Architecture:
    """Read `config.json` of a model's folder; for a multimodal model, the part of its language model.

    Raises OSError, ValueError (not a JSON object) or KeyError (an architecture that is not served, a size missing).
    """
    config: Any = json.loads((folder / "config.json").read_text())
    text: Any = config.get("text_config", config) if isinstance(config, dict) else None
    if not isinstance(text, dict):
        raise ValueError("not an object")
    kind = text.get("model_type", "gemma3_text" if text is not config else "")
    traits = TRAITS[kind]
    text = {**traits.defaults, **text}
    has_biases = bool(text.get("attention_bias", False))
    return Architecture(
        vocabulary=text["vocab_size"],
        hidden=text["hidden_size"],
        intermediate=text["intermediate_size"],
        layers=text["num_hidden_layers"],
        heads=text["num_attention_heads"],
        kv_heads=text.get("num_key_value_heads") or text["num_attention_heads"],
        head_dim=text.get("head_dim") or text["hidden_size"] // text["num_attention_heads"],
        is_tied=bool(text.get("tie_word_embeddings", traits.is_tied)),
        norms=traits.norms,
        head_norms=traits.head_norms,
        norms_all_heads=traits.norms_all_heads,
        qkv_biases=has_biases if traits.qkv_biases is None else traits.qkv_biases,
        output_bias=has_biases and traits.qkv_biases is None,
        mlp_biases=bool(text.get("mlp_bias", False)),
    )


def for_people(size_bytes: int) -> str:
    """A size as text: gigabytes of 10^9 bytes with one decimal, as GPUs are sold; below that, megabytes."""
    return f"{size_bytes / 1e9:.1f} GB" if size_bytes >= 1e9 else f"{size_bytes / 1e6:.0f} MB"
