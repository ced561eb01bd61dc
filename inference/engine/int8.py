"""8-bit matrices, and Gemma layers around them, that make a model fast on a CPU.

A decode step reads every weight once, and a processor's memory and arithmetic are both several times faster in 8 bits
than in 32. Weights get one scale an output row, activations one a token, so a token's numbers do not depend on who
shares its batch. Sums are whole numbers, hence exact, and do not depend on the batch either. Processors without 8-bit
dot products add pairs of products in 16 bits: there activations have 7 bits, so that a pair fits (ADR 14).
`docs/performance.md` has the measurements and what it costs in perplexity.
"""

import warnings
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from inference.engine import kernels
from inference.engine.attention import attend_rows
from inference.engine.base import EngineError
from inference.engine.kernels import Array

# The output head is computed in slices of this many rows. A whole one of 262,144 would be written to fresh memory
# from the system every step, which takes longer than the arithmetic; the products of 32 requests with a slice of this
# size, 1 MiB, are still in the processor's cache when they are scaled.
HEAD_ROWS = 8_192
LARGEST = 127.0  # of a signed byte, used symmetrically
LARGEST_OF_A_PAIR = 63.0  # of an activation of 7 bits: as unsigned bytes, two times 127 x 127 fit a signed 16-bit sum

LARGEST_GROUP = 128  # columns that are mixed; every Gemma 3 has a multiple of it

_multiply = torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32.default._op  # noqa: SLF001  without the checks for tracing, a tenth of a call


def largest_activation() -> float:
    """How far activations are rounded from zero on this processor.

    Without VNNI the library's sums of two products saturate at 16 bits, and what is lost depends on the numbers.
    """
    has_vnni = torch.cpu._is_vnni_supported()  # noqa: SLF001  torch has no public name for it
    return LARGEST if has_vnni else LARGEST_OF_A_PAIR


class Int8Matrix:
    """Weights [rows out, columns in] in 8 bits.

    Before rounding, groups of columns are mixed by a Hadamard matrix: few columns of Gemma's activations are far larger
    than the rest, and a byte cannot hold both. Turning activations and weights alike changes no product (QuaRot,
    Ashkboos et al., 2024).
    """

    def __init__(self, *weights: torch.Tensor) -> None:
        """Several `weights` that read the same input are multiplied as one."""
        weight = torch.cat([part.detach() for part in weights]).float()
        self.group = min(LARGEST_GROUP, weight.size(1) & -weight.size(1))  # the largest power of two in the columns
        self.limit = largest_activation()
        self._packed = _pack(weight, self.group)

    def scale(self, rows: Array) -> tuple[Array, Array]:
        """Rows [tokens, columns] made ready for `multiply`, and the factor of each row of its result."""
        scaled, steps = np.empty_like(rows), np.empty(len(rows), np.float32)
        kernels.scale_rows(rows, self.group, self.limit, scaled, steps)
        return scaled, steps

    def scale_norm(self, rows: Array, weight: Array, epsilon: float) -> tuple[Array, Array]:
        """`scale` of the norm of the rows."""
        scaled, steps = np.empty_like(rows), np.empty(len(rows), np.float32)
        kernels.normalise_and_scale(rows, weight, epsilon, self.group, self.limit, scaled, steps)
        return scaled, steps

    def multiply(self, scaled: Array) -> torch.Tensor:
        """Products [tokens, rows out] of scaled rows. The library stores the rows as unsigned bytes."""
        result: torch.Tensor = _multiply(torch.from_numpy(scaled), 1.0, int(self.limit) + 1, self._packed)
        return result


class Int8Linear(nn.Module):  # type: ignore[misc]
    """`x @ weight.T` with 8-bit weights and activations; float32 in and out."""

    def __init__(self, weight: torch.Tensor) -> None:
        """`weight` is [rows out, columns in]."""
        super().__init__()
        self.rows = len(weight)
        self._slices = [Int8Matrix(part) for part in weight.split(HEAD_ROWS)]
        self._room = torch.empty(0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return [..., rows], which is valid until the next call: it lies in reused memory."""
        scaled, row_steps = self._slices[0].scale(x.reshape(-1, x.size(-1)).numpy())
        steps = torch.from_numpy(row_steps).unsqueeze(1)
        if self._room.size(0) < len(scaled):
            self._room = torch.empty(len(scaled), self.rows)
        result = self._room[: len(scaled)]
        for matrix, part in zip(self._slices, result.split(HEAD_ROWS, dim=1), strict=True):
            torch.mul(matrix.multiply(scaled), steps, out=part)
        return result.view(*x.shape[:-1], self.rows)


class Int8Layer(nn.Module):  # type: ignore[misc]
    """A Gemma3DecoderLayer, in its place and with its arguments, for a batch of one sequence as the batcher packs it.

    Four matrices in 8 bits, and between them one kernel where the library's layer calls ten operations.
    """

    def __init__(self, layer: Any) -> None:
        """Takes the matrices out of `layer`, which is of no use afterwards."""
        super().__init__()
        attention, mlp = layer.self_attn, layer.mlp
        size = attention.head_dim
        self.query_heads, self.key_heads = (len(part.weight) // size for part in (attention.q_proj, attention.k_proj))
        self.qkv = Int8Matrix(attention.q_proj.weight, attention.k_proj.weight, attention.v_proj.weight)
        self.out = Int8Matrix(attention.o_proj.weight)
        self.gate_up = Int8Matrix(mlp.gate_proj.weight, mlp.up_proj.weight)
        self.down = Int8Matrix(mlp.down_proj.weight)
        self.query_norm, self.key_norm = _weight_of(attention.q_norm), _weight_of(attention.k_norm)
        self.before_attention, self.after_attention = map(
            _weight_of, (layer.input_layernorm, layer.post_attention_layernorm)
        )
        self.before_mlp, self.after_mlp = map(
            _weight_of, (layer.pre_feedforward_layernorm, layer.post_feedforward_layernorm)
        )
        self.epsilon = layer.input_layernorm.eps  # Gemma has one for all norms
        for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
            delattr(attention, name)
        self.attention = attention  # its settings, for the attention function that is set

    def forward(
        self,
        hidden_states: torch.Tensor,
        position_embeddings: tuple[torch.Tensor, torch.Tensor],
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,  # noqa: ARG002  the library passes it
        past_key_values: Any = None,
        **kwargs: Any,
    ) -> torch.Tensor:
        """See Gemma3DecoderLayer; [1, tokens, hidden size] in and out."""
        hidden, attention = hidden_states[0].numpy(), self.attention
        queries, keys, values = map(torch.from_numpy, self._read_heads(hidden, *position_embeddings))
        if "cache" in kwargs:  # the batcher's
            attended = attend_rows(attention, queries, keys, values, attention.scaling, **kwargs)
        else:
            attended = self._attend_alone(queries, keys, values, attention_mask, past_key_values, **kwargs)
        scaled, steps = self.out.scale(attended.reshape(len(hidden), -1).numpy())
        hidden = self._add_norm(hidden, self.out.multiply(scaled), steps, self.after_attention)
        return torch.from_numpy(self._add_mlp(hidden)).unsqueeze(0)

    def _attend_alone(
        self, queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, mask: Any, past: Any, **kwargs: Any
    ) -> torch.Tensor:
        """Where nobody batches: the library's own attention, and its cache for `generate`."""
        queries, keys, values = (part.transpose(0, 1).unsqueeze(0) for part in (queries, keys, values))
        if past is not None:
            keys, values = past.update(keys, values, self.attention.layer_idx)
        attend = ALL_ATTENTION_FUNCTIONS[self.attention.config._attn_implementation]  # noqa: SLF001
        window = self.attention.sliding_window
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

    def _add_mlp(self, hidden: Array) -> Array:
        scaled, steps = self.gate_up.scale_norm(hidden, self.before_mlp, self.epsilon)
        both = self.gate_up.multiply(scaled).numpy()
        gated, gated_steps = np.empty((len(both), both.shape[1] // 2), np.float32), np.empty_like(steps)
        kernels.gate_and_scale(both, steps, self.down.group, self.down.limit, gated, gated_steps)
        return self._add_norm(hidden, self.down.multiply(gated), gated_steps, self.after_mlp)

    def _add_norm(self, hidden: Array, products: torch.Tensor, steps: Array, weight: Array) -> Array:
        """`hidden` plus the norm of the products times their steps; all [tokens, columns]."""
        result = np.empty_like(hidden)
        kernels.add_norm(hidden, products.numpy(), steps, weight, self.epsilon, result)
        return result


class StoredEmbedding(nn.Module):  # type: ignore[misc]
    """Gemma's scaled embedding, kept as the checkpoint has it (bfloat16) and read out as float32."""

    def __init__(self, weight: torch.Tensor, scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.register_buffer("table", weight, persistent=False)

    def forward(self, token_ids: torch.Tensor) -> torch.Tensor:
        """Return [..., hidden size], float32."""
        return nn.functional.embedding(token_ids, self.table).float().mul_(self.scale)


def to_int8(model: Any) -> None:
    """Turn a Gemma3ForCausalLM on a CPU into one with 8-bit matrices, in place; the rest becomes float32.

    The head shares its weights with the embedding; it is packed apart, the embedding stays as it is. Raises EngineError
    for a model with biases.
    """
    if any(layer.bias is not None for layer in model.modules() if isinstance(layer, nn.Linear)):
        raise EngineError("int8 is made for Gemma 3, whose matrices have no biases.")
    inner, embedding = model.model, model.model.embed_tokens
    model.lm_head = Int8Linear(model.lm_head.weight.detach())
    for number, layer in enumerate(inner.layers):
        inner.layers[number] = Int8Layer(layer)
    inner.norm = _one_call_norm(inner.norm)
    inner.embed_tokens = nn.Identity()  # not cast with the rest
    model.float()
    inner.embed_tokens = StoredEmbedding(embedding.weight.detach(), embedding.scalar_embed_scale)


def _one_call_norm(norm: Any) -> nn.RMSNorm:
    """torch's own layer in the place of a Gemma3RMSNorm: the same numbers in one call instead of seven."""
    weight = torch.from_numpy(_weight_of(norm))
    made = nn.RMSNorm(len(weight), eps=norm.eps)
    made.weight = nn.Parameter(weight, requires_grad=False)
    return made


def _weight_of(norm: Any) -> Array:
    """The weight of a Gemma3RMSNorm as the kernels take it, which multiply by it alone."""
    weight: Array = (1.0 + norm.weight.detach().float()).numpy()
    return weight


def _pack(weight: torch.Tensor, group: int) -> Any:
    """Mix and round [rows, columns] to bytes with a scale a row, in the order the library multiplies them fastest."""
    scaled, scales = torch.empty_like(weight), torch.empty(len(weight))
    kernels.scale_rows(weight.numpy(), group, LARGEST, scaled.numpy(), scales.numpy())
    with warnings.catch_warnings():  # torch means to drop these tensors; the pin says when to look again
        warnings.filterwarnings("ignore", "torch.quantize_per_tensor", UserWarning)
        quantised = torch._make_per_channel_quantized_tensor(  # noqa: SLF001  the only way in from whole numbers
            scaled.round().to(torch.int8), scales.double(), torch.zeros(len(weight), dtype=torch.long), 0
        )
    before, torch.backends.quantized.engine = torch.backends.quantized.engine, "fbgemm"
    try:
        return torch.ops.quantized.linear_prepack(quantised, None)
    finally:
        torch.backends.quantized.engine = before
