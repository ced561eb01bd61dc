"""Chooses the precision in which a model computes."""

from typing import Literal

import torch

from inference.engine.base import EngineError

Chosen = Literal["float32", "bfloat16", "int8", "int4"]
Precision = Literal["auto"] | Chosen


def choose_precision(wanted: Precision, device: str) -> Chosen:
    """Return the precision to load a model in. "auto" is bfloat16 on a GPU; on a CPU int8 with AVX2, else float32.

    Raises EngineError if the device cannot compute in the wanted precision.
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
    """Whether torch can multiply packed 8-bit matrices on this CPU, which needs x86 with AVX2."""
    return "fbgemm" in torch.backends.quantized.supported_engines
