"""Matrices and linear layers in 8 bits, which make a model fast on a CPU; `int8_layers` puts them into a model.

A decode step reads every weight once, and on a CPU both memory and arithmetic are several times faster in 8 bits than
in 32. Each output row of the weights has a scale, and each token of the activations. So a token's results do not depend
on the other requests in its batch. Sums are integers, hence exact, and so do not depend on the batch either. Processors
without 8-bit dot products add pairs of products in 16 bits; there activations have 7 bits, so that a pair does not
overflow (ADR 14). `docs/performance.md` has the measurements and the cost in perplexity.
"""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from inference.engine.cpu import kernels
from inference.engine.cpu.kernels import Array

# The output head is computed in slices of this many rows. The result of a whole head of 262,144 rows would need new
# memory from the system in every step, which takes longer than the arithmetic. The products of 32 requests with a slice
# of this size, 1 MiB, are still in the processor's cache when they are scaled.
HEAD_ROWS = 8_192
LARGEST = 127.0  # the largest value of a signed byte, used symmetrically
LARGEST_OF_A_PAIR = 63.0  # with 7-bit activations: as unsigned bytes, 2 x 127 x 127 fits a signed 16-bit sum

LARGEST_GROUP = 128  # so many columns are mixed; the columns of nearly every model are a multiple of it
NO_NUMBERS = np.empty(0, np.float32)  # tells the kernels that there is no bias or no weight of a norm

_multiply = torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32.default._op  # noqa: SLF001  without the checks for tracing, a tenth of a call


def largest_activation() -> float:
    """The largest absolute value of a rounded activation on this processor.

    Without VNNI, the library's sums of two products saturate at 16 bits, with an error that depends on the values.
    """
    has_vnni = torch.cpu._is_vnni_supported()  # noqa: SLF001  torch has no public name for it
    return LARGEST if has_vnni else LARGEST_OF_A_PAIR


class Int8Matrix:
    """Weights [rows out, columns in] in 8 bits.

    Before rounding, groups of columns are mixed by a Hadamard matrix. Otherwise a few columns of a model's activations
    are far larger than the rest, and a byte cannot represent both. Rotating activations and weights in the same way
    changes no product (QuaRot, Ashkboos et al., 2024).
    """

    def __init__(self, *weights: torch.Tensor, biases: Sequence[torch.Tensor | None] = ()) -> None:
        """Join several `weights` with the same input into one matrix. `multiply` does not add `bias`; callers must."""
        weight = torch.cat([part.detach() for part in weights]).float()
        self.bias = _join_biases(weights, biases)
        self.group = min(LARGEST_GROUP, weight.size(1) & -weight.size(1))  # the largest power of two in the columns
        self.limit = largest_activation()
        self._packed = _pack(weight, self.group)

    def scale(self, rows: Array) -> tuple[Array, Array]:
        """Prepare rows [tokens, columns] for `multiply`. Returns them, and the factor for each row of the product."""
        scaled, steps = np.empty_like(rows), np.empty(len(rows), np.float32)
        kernels.scale_rows(rows, self.group, self.limit, scaled, steps)
        return scaled, steps

    def scale_norm(self, rows: Array, weight: Array, epsilon: float) -> tuple[Array, Array]:
        """RMSNorm of the rows, then `scale`, in one call."""
        scaled, steps = np.empty_like(rows), np.empty(len(rows), np.float32)
        kernels.normalise_and_scale(rows, weight, epsilon, self.group, self.limit, scaled, steps)
        return scaled, steps

    def multiply(self, scaled: Array) -> torch.Tensor:
        """Products [tokens, rows out] of scaled rows, without their factors.

        The library stores the rows as unsigned bytes.
        """
        result: torch.Tensor = _multiply(torch.from_numpy(scaled), 1.0, int(self.limit) + 1, self._packed)
        return result


class Int8Linear(nn.Module):  # type: ignore[misc]
    """`x @ weight.T + bias` with 8-bit weights and activations; float32 in and out."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None = None) -> None:
        """`weight` is [rows out, columns in]."""
        super().__init__()
        self._matrix = Int8Matrix(weight, biases=(bias,))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return [..., rows]."""
        matrix = self._matrix
        scaled, steps = matrix.scale(x.reshape(-1, x.size(-1)).contiguous().numpy())
        result = matrix.multiply(scaled)
        kernels.finish_rows(result.numpy(), steps, matrix.bias)
        return result.view(*x.shape[:-1], -1)


class Int8Head(nn.Module):  # type: ignore[misc]
    """The output head, a linear layer of very many rows; float32 in and out."""

    def __init__(self, weight: torch.Tensor) -> None:
        """`weight` is [vocabulary, columns in]."""
        super().__init__()
        self.rows = len(weight)
        self._slices = [Int8Matrix(part) for part in weight.split(HEAD_ROWS)]
        self._room = torch.empty(0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return [..., vocabulary], which is valid until the next call: it lies in reused memory."""
        scaled, row_steps = self._slices[0].scale(x.reshape(-1, x.size(-1)).numpy())
        steps = torch.from_numpy(row_steps).unsqueeze(1)
        if self._room.size(0) < len(scaled):
            self._room = torch.empty(len(scaled), self.rows)
        result = self._room[: len(scaled)]
        for matrix, part in zip(self._slices, result.split(HEAD_ROWS, dim=1), strict=True):
            torch.mul(matrix.multiply(scaled), steps, out=part)
        return result.view(*x.shape[:-1], self.rows)


def _join_biases(weights: Sequence[torch.Tensor], biases: Sequence[torch.Tensor | None]) -> Array:
    """Join the biases of several weights. A missing one becomes zeros; NO_NUMBERS if all are missing."""
    if all(bias is None for bias in biases):
        return NO_NUMBERS
    parts = [
        torch.zeros(len(weight)) if bias is None else bias.detach().float()
        for weight, bias in zip(weights, biases, strict=True)
    ]
    joined: Array = torch.cat(parts).numpy()
    return joined


def _pack(weight: torch.Tensor, group: int) -> Any:
    """Mix [rows, columns], round to bytes with a scale for each row, and pack them in the library's fastest order."""
    scaled, scales = torch.empty_like(weight), torch.empty(len(weight))
    kernels.scale_rows(weight.numpy(), group, LARGEST, scaled.numpy(), scales.numpy())
    with warnings.catch_warnings():  # torch plans to remove these tensors; look again when the pinned version changes
        warnings.filterwarnings("ignore", "torch.quantize_per_tensor", UserWarning)
        quantised = torch._make_per_channel_quantized_tensor(  # noqa: SLF001  the only way from integers
            scaled.round().to(torch.int8), scales.double(), torch.zeros(len(weight), dtype=torch.long), 0
        )
    before, torch.backends.quantized.engine = torch.backends.quantized.engine, "fbgemm"
    try:
        return torch.ops.quantized.linear_prepack(quantised, None)
    finally:
        torch.backends.quantized.engine = before
