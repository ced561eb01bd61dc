"""In how many bits a model computes, and the 8-bit layers that make Gemma fast on a CPU.

A decode step reads every weight once, and a processor's memory and arithmetic are both several times faster in 8 bits
than in 32. Weights get one scale an output row, activations one a token, so a token's numbers do not depend on who
shares its batch. Sums are whole numbers, hence exact, and do not depend on the batch either. Processors without 8-bit
dot products add pairs of products in 16 bits: there activations have 7 bits, so that a pair fits (ADR 14).
`docs/performance.md` has the measurements and what it costs in perplexity.
"""

import warnings
from typing import Any, Literal

import torch
from torch import nn
from transformers.models.gemma3.modeling_gemma3 import Gemma3RMSNorm

from inference.engine.base import EngineError

Chosen = Literal["float32", "bfloat16", "int8", "int4"]
Precision = Literal["auto"] | Chosen

# The output head is computed in slices of this many rows. A whole one of 262,144 would be written to fresh memory
# from the system every step, which takes longer than the arithmetic.
HEAD_ROWS = 16_384
LARGEST = 127.0  # of a signed byte, used symmetrically
LARGEST_OF_A_PAIR = 63.0  # of an activation of 7 bits: as unsigned bytes, two times 127 x 127 fit a signed 16-bit sum
LARGEST_GROUP = 128  # columns that are mixed; every Gemma 3 has a multiple of it
SMALLEST = 1e-12  # keeps a row of zeros from dividing by zero


def choose_precision(wanted: Precision, device: str) -> Chosen:
    """Return the precision to load with: on a GPU bfloat16, on a CPU int8 where it has the instructions for it.

    Raises EngineError for what the device cannot do.
    """
    if device == "cuda":
        return "bfloat16" if wanted == "auto" else wanted
    if wanted == "int4":
        raise EngineError("int4 needs a GPU: choose int8, bfloat16 or float32.")
    if wanted == "int8" and not can_int8():
        raise EngineError("int8 needs a processor with AVX2: choose float32.")
    if wanted == "auto":
        return "int8" if can_int8() else "float32"
    return wanted


def can_int8() -> bool:
    """Whether torch multiplies packed bytes here: on x86 with AVX2."""
    return "fbgemm" in torch.backends.quantized.supported_engines


def largest_activation() -> float:
    """How far activations are rounded from zero on this processor.

    Without VNNI the library's sums of two products saturate at 16 bits, and what is lost depends on the numbers.
    """
    has_vnni = torch.cpu._is_vnni_supported()  # noqa: SLF001  torch has no public name for it
    return LARGEST if has_vnni else LARGEST_OF_A_PAIR


class Int8Linear(nn.Module):  # type: ignore[misc]
    """`x @ weight.T` with 8-bit weights and activations; float32 in and out."""

    def __init__(self, weight: torch.Tensor) -> None:
        """`weight` is [rows out, columns in]."""
        super().__init__()
        self.rows = weight.size(0)
        self._mix = _mixer(weight.size(1))
        self._slices = [_pack(_mixed(part.float(), self._mix)) for part in weight.split(HEAD_ROWS)]
        self._room = torch.empty(0)
        self._largest = largest_activation()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return [..., rows]. A result of several slices is valid until the next call: it lies in reused memory."""
        tokens = _mixed(x.reshape(-1, x.size(-1)), self._mix)
        step = tokens.abs().amax(-1, keepdim=True).add_(SMALLEST).mul_(1 / self._largest)
        scaled = tokens / step
        if len(self._slices) == 1:
            return self._multiply(scaled, self._slices[0]).mul_(step).view(*x.shape[:-1], self.rows)
        if self._room.size(0) < len(tokens):
            self._room = torch.empty(len(tokens), self.rows)
        result = self._room[: len(tokens)]
        for packed, part in zip(self._slices, result.split(HEAD_ROWS, dim=1), strict=True):
            torch.mul(self._multiply(scaled, packed), step, out=part)
        return result.view(*x.shape[:-1], self.rows)

    def _multiply(self, scaled: torch.Tensor, packed: Any) -> torch.Tensor:
        """Products of scaled tokens, stored as unsigned bytes, with packed weights."""
        zero_point = int(self._largest) + 1
        result: torch.Tensor = torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32(
            scaled, 1.0, zero_point, packed
        )
        return result


class SharedInput:
    """Several layers that read the same input, multiplied as one: fewer, larger products."""

    def __init__(self, weights: list[torch.Tensor]) -> None:
        self._whole = Int8Linear(torch.cat(weights))
        self._sizes = [len(weight) for weight in weights]
        self._input: torch.Tensor | None = None
        self._parts: tuple[torch.Tensor, ...] = ()

    def part(self, number: int, x: torch.Tensor) -> torch.Tensor:
        """What layer `number` makes of `x`. All of them are computed when the first asks, and let go with the last."""
        if self._input is not x:
            self._input, self._parts = x, self._whole(x).split(self._sizes, dim=-1)
        result = self._parts[number]
        if number == len(self._sizes) - 1:
            self._input, self._parts = None, ()
        return result


class SharedInputLinear(nn.Module):  # type: ignore[misc]
    """One of the layers of a SharedInput, in the place of the model's own."""

    def __init__(self, shared: SharedInput, number: int) -> None:
        super().__init__()
        self._shared, self._number = shared, number

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """See `Int8Linear`."""
        return self._shared.part(self._number, x)


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
    embedding = model.model.embed_tokens
    model.lm_head = Int8Linear(model.lm_head.weight.detach())
    for layer in model.model.layers:
        attention, mlp = layer.self_attn, layer.mlp
        _share(attention, "q_proj", "k_proj", "v_proj")
        _share(mlp, "gate_proj", "up_proj")
        attention.o_proj = Int8Linear(attention.o_proj.weight.detach())
        mlp.down_proj = Int8Linear(mlp.down_proj.weight.detach())
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, Gemma3RMSNorm):
                setattr(parent, name, _one_call_norm(child))
    model.model.embed_tokens = nn.Identity()  # not cast with the rest
    model.float()
    model.model.embed_tokens = StoredEmbedding(embedding.weight.detach(), embedding.scalar_embed_scale)


def _share(parent: nn.Module, *names: str) -> None:
    shared = SharedInput([getattr(parent, name).weight.detach() for name in names])
    for number, name in enumerate(names):
        setattr(parent, name, SharedInputLinear(shared, number))


def _one_call_norm(norm: Any) -> nn.RMSNorm:
    """torch's own layer: the same numbers in one call instead of seven."""
    weight = 1.0 + norm.weight.detach().float()
    made = nn.RMSNorm(len(weight), eps=norm.eps)
    made.weight = nn.Parameter(weight, requires_grad=False)
    return made


def _mixer(columns: int) -> torch.Tensor:
    """A rotation of groups of columns that spreads one large number over its group: a Hadamard matrix.

    Few columns of Gemma's activations are far larger than the rest, and a byte cannot hold both. Turning activations
    and weights alike changes no product (QuaRot, Ashkboos et al., 2024).
    """
    matrix = torch.ones(1, 1)
    while len(matrix) < LARGEST_GROUP and columns % (2 * len(matrix)) == 0:
        matrix = torch.cat((torch.cat((matrix, matrix), 1), torch.cat((matrix, -matrix), 1)))
    return matrix / len(matrix) ** 0.5


def _mixed(rows: torch.Tensor, mix: torch.Tensor) -> torch.Tensor:
    """Turn each group of columns of [rows, columns]."""
    return (rows.view(-1, len(mix)) @ mix).view(rows.shape)


def _pack(weight: torch.Tensor) -> Any:
    """Round [rows, columns] to bytes with a scale a row, in the order the library multiplies them fastest."""
    scales = weight.abs().amax(1).add(SMALLEST) / LARGEST
    whole = (weight / scales.unsqueeze(1)).round().to(torch.int8)
    with warnings.catch_warnings():  # torch means to drop these tensors; the pin says when to look again
        warnings.filterwarnings("ignore", "torch.quantize_per_tensor", UserWarning)
        quantised = torch._make_per_channel_quantized_tensor(  # noqa: SLF001  the only way in from whole numbers
            whole, scales.double(), torch.zeros(len(whole), dtype=torch.long), 0
        )
    before, torch.backends.quantized.engine = torch.backends.quantized.engine, "fbgemm"
    try:
        return torch.ops.quantized.linear_prepack(quantised, None)
    finally:
        torch.backends.quantized.engine = before
