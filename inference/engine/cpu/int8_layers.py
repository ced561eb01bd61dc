"""Decoder layers with 8-bit matrices, which replace those of transformers to make a model fast on a CPU.

Gemma 3, Llama, Mistral, Qwen 2 and Qwen 3 share one layer here, with four matrix products and kernels between them. All
other architectures keep the library's decoder layers, in which only the linear layers multiply in 8 bits.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from inference.engine.cpu import kernels
from inference.engine.cpu.attention import attend_rows
from inference.engine.cpu.int8 import NO_NUMBERS, Int8Head, Int8Linear, Int8Matrix
from inference.engine.cpu.kernels import Array


@dataclass(frozen=True, slots=True)
class Kind:
    """How the layers of an architecture differ from those of the others.

    `norm_offset` is added to the stored weight of a norm. `activation` is the configuration's name of the gate's
    function. Whether a layer has biases and additional norms is read from the layer itself.
    """

    norm_offset: float = 0.0
    activation: str = "silu"


GELU = "gelu_pytorch_tanh"
KINDS = {
    "gemma3_text": Kind(norm_offset=1.0, activation=GELU),
    "llama": Kind(),
    "mistral": Kind(),
    "qwen2": Kind(),
    "qwen3": Kind(),
}


def to_int8(model: Any) -> None:
    """Convert a causal language model on a CPU to 8-bit matrices, in place. The other weights become float32.

    The embedding stays as it is. If the head shares its weights, it gets a packed copy.
    """
    inner, embedding, kind = model.model, model.model.embed_tokens, kind_of(model.config)
    model.lm_head = Int8Head(model.lm_head.weight.detach())
    for number, layer in enumerate(inner.layers):
        if kind is None:
            _replace_linear_layers(layer)
        else:
            inner.layers[number] = Int8Layer(layer, kind)
    if kind is not None:
        inner.norm = _one_call_norm(inner.norm, kind)
    inner.embed_tokens = nn.Identity()  # so that it is not cast with the rest
    model.float()
    inner.embed_tokens = StoredEmbedding(embedding.weight.detach(), getattr(embedding, "scalar_embed_scale", 1.0))


def kind_of(config: Any) -> Kind | None:
    """The kind of a model's layers; None if `Int8Layer` cannot replace them."""
    kind = KINDS.get(config.model_type)
    activation = getattr(config, "hidden_activation", None) or getattr(config, "hidden_act", None)
    return kind if kind and kind.activation == activation else None


class Int8Layer(nn.Module):  # type: ignore[misc]
    """Replaces a decoder layer and has its arguments. Its batch is one sequence, as the batcher packs it.

    It has four 8-bit matrices. Between them it calls one kernel where the library's layer calls ten operations.
    """

    def __init__(self, layer: Any, kind: Kind) -> None:
        """Take the matrices out of `layer`, which cannot be used afterwards."""
        super().__init__()
        attention, mlp = layer.self_attn, layer.mlp
        size = attention.head_dim
        self.query_heads, self.key_heads = (len(part.weight) // size for part in (attention.q_proj, attention.k_proj))
        self.qkv = _matrix_of(attention.q_proj, attention.k_proj, attention.v_proj)
        self.out = _matrix_of(attention.o_proj)
        self.gate_up = _matrix_of(mlp.gate_proj, mlp.up_proj)
        self.down = _matrix_of(mlp.down_proj)
        self.is_gelu = kind.activation == GELU
        self.query_norm, self.key_norm = (
            _weight_of(getattr(attention, name, None), kind) for name in ("q_norm", "k_norm")
        )
        self.before_attention, self.after_attention, self.before_mlp, self.after_mlp = (
            _weight_of(norm, kind) for norm in _norms_of(layer)
        )
        self.epsilon = _epsilon_of(layer.input_layernorm)  # the same for all norms of a model
        for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
            delattr(attention, name)
        self.attention = attention  # now only has settings, which the attention functions read

    def forward(
        self,
        hidden_states: torch.Tensor,
        position_embeddings: tuple[torch.Tensor, torch.Tensor],
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,  # noqa: ARG002  the library passes it
        past_key_values: Any = None,
        **kwargs: Any,
    ) -> torch.Tensor:
        """See the library's layers; [1, tokens, hidden size] in and out."""
        hidden, attention = hidden_states[0].numpy(), self.attention
        queries, keys, values = map(torch.from_numpy, self._read_heads(hidden, *position_embeddings))
        if "cache" in kwargs:  # called by the batcher
            attended = attend_rows(attention, queries, keys, values, attention.scaling, **kwargs)
        else:
            attended = self._attend_alone(queries, keys, values, attention_mask, past_key_values, **kwargs)
        scaled, steps = self.out.scale(attended.reshape(len(hidden), -1).numpy())
        return torch.from_numpy(self._add_mlp(hidden, self.out.multiply(scaled).numpy(), steps)).unsqueeze(0)

    def _attend_alone(
        self, queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, mask: Any, past: Any, **kwargs: Any
    ) -> torch.Tensor:
        """The library's own attention and cache, for `generate` without the batcher."""
        queries, keys, values = (part.transpose(0, 1).unsqueeze(0) for part in (queries, keys, values))
        if past is not None:
            keys, values = past.update(keys, values, self.attention.layer_idx)
        config = self.attention.config
        attend = ALL_ATTENTION_FUNCTIONS[config._attn_implementation]  # noqa: SLF001
        window = getattr(self.attention, "sliding_window", getattr(config, "sliding_window", None))
        attended: torch.Tensor = attend(
            self.attention, queries, keys, values, mask, scaling=self.attention.scaling, sliding_window=window, **kwargs
        )[0]
        return attended

    def _read_heads(self, hidden: Array, cosines: torch.Tensor, sines: torch.Tensor) -> tuple[Array, Array, Array]:
        """Queries, keys and values, each [tokens, heads, size]."""
        scaled, steps = self.qkv.scale_norm(hidden, self.before_attention, self.epsilon)
        tokens, size = len(hidden), self.attention.head_dim
        queries = np.empty((tokens, self.query_heads, size), np.float32)
        keys, values = np.empty((2, tokens, self.key_heads, size), np.float32)
        kernels.split_heads(
            self.qkv.multiply(scaled).numpy(),
            steps,
            self.qkv.bias,
            self.query_norm,
            self.key_norm,
            self.epsilon,
            cosines[0].numpy(),
            sines[0].numpy(),
            queries,
            keys,
            values,
        )
        return queries, keys, values

    def _add_mlp(self, hidden: Array, attended: Array, steps: Array) -> Array:
        """Add the attention's output to `hidden`, then the feed-forward part. `steps` are the factors of `attended`."""
        gate_up, down = self.gate_up, self.down
        result, scaled, next_steps = np.empty_like(hidden), np.empty_like(hidden), np.empty_like(steps)
        kernels.add_normalise_and_scale(
            *(hidden, attended, steps, self.out.bias, self.after_attention, self.epsilon, self.before_mlp),
            *(gate_up.group, gate_up.limit, result, scaled, next_steps),
        )
        both = gate_up.multiply(scaled).numpy()
        gated = np.empty((len(both), both.shape[1] // 2), np.float32)
        kernels.gate_and_scale(both, next_steps, gate_up.bias, self.is_gelu, down.group, down.limit, gated, steps)
        products = down.multiply(gated).numpy()
        kernels.add_products(result, products, steps, down.bias, self.after_mlp, self.epsilon, result)
        return result


class StoredEmbedding(nn.Module):  # type: ignore[misc]
    """An embedding that keeps the checkpoint's weights (bfloat16) and returns them as float32, times `scale`."""

    def __init__(self, weight: torch.Tensor, scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.register_buffer("table", weight, persistent=False)

    def forward(self, token_ids: torch.Tensor) -> torch.Tensor:
        """Return [..., hidden size], float32."""
        return nn.functional.embedding(token_ids, self.table).float().mul_(self.scale)


def _replace_linear_layers(layer: Any) -> None:
    """Replace the linear layers inside one of the library's decoder layers by 8-bit ones."""
    for module in list(layer.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.Linear):
                setattr(module, name, Int8Linear(child.weight, child.bias))


def _matrix_of(*linears: Any) -> Int8Matrix:
    return Int8Matrix(*(each.weight for each in linears), biases=[each.bias for each in linears])


def _norms_of(layer: Any) -> tuple[Any, Any, Any, Any]:
    """The norms before and after attention, and before and after the feed-forward part; None for a missing one.

    In spite of its name, Llama's `post_attention_layernorm` is the norm before the feed-forward part.
    """
    if hasattr(layer, "pre_feedforward_layernorm"):
        return (
            layer.input_layernorm,
            layer.post_attention_layernorm,
            layer.pre_feedforward_layernorm,
            layer.post_feedforward_layernorm,
        )
    return layer.input_layernorm, None, layer.post_attention_layernorm, None


def _one_call_norm(norm: Any, kind: Kind) -> nn.RMSNorm:
    """torch's RMSNorm to replace the library's norm: it gives the same results in one call instead of seven."""
    weight = torch.from_numpy(_weight_of(norm, kind))
    made = nn.RMSNorm(len(weight), eps=_epsilon_of(norm))
    made.weight = nn.Parameter(weight, requires_grad=False)
    return made


def _weight_of(norm: Any, kind: Kind) -> Array:
    """The weight of a norm with its offset added, since the kernels only multiply; NO_NUMBERS if there is no norm."""
    if norm is None:
        return NO_NUMBERS
    weight: Array = (kind.norm_offset + norm.weight.detach().float()).numpy()
    return weight


def _epsilon_of(norm: Any) -> float:
    """The epsilon of a norm, which has another attribute in Gemma than in all others."""
    return float(norm.eps if hasattr(norm, "eps") else norm.variance_epsilon)
