"""Draws the next token of every request of a batch in one pass, without sorting the vocabulary.

transformers' own per-request top-k and top-p sort all 262,144 logits of every row, which makes sampling six times
slower than greedy on a CPU. Here one `topk` finds the candidates, and temperature, top-k, top-p and the draw work
on those alone. The winner's logit becomes +inf, so that the batcher's argmax takes it.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers.generation.continuous_batching.cb_logits_processors import (
    ContinuousBatchingLogitsProcessorList,
)
from transformers.generation.logits_process import LogitsProcessorList

from inference.engine.base import MAX_TOP_K, Sampling


@dataclass(slots=True)
class Draw:
    """One request's sampling and its own source of randomness: a seed draws alike whoever shares the batch."""

    sampling: Sampling
    source: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self.source = random.Random(self.sampling.seed)  # noqa: S311  not for secrets


class OnePassSampler(ContinuousBatchingLogitsProcessorList):  # type: ignore[misc]
    """What the batcher calls between the logits and argmax.

    The library keeps one int32 column a request beside the batch's inputs; we use four: temperature, top-p and a
    uniform number in [0, 1) as float32 bits, and top-k.
    """

    def __init__(self) -> None:
        super().__init__(LogitsProcessorList())
        self.tensors_required = 4
        self.do_processing = True
        self.supported_keys = {"draw": Draw}

    def fill_defaults(self, int32_tensor: torch.Tensor) -> None:
        """Rows that pad a batch take the best token: [4, 1] of zeros, read as temperature 0."""
        int32_tensor.zero_()

    def prepare_tensor_args(self, requests_in_batch: Sequence[Any], arg_storage: torch.Tensor) -> torch.Tensor:
        """Write the four numbers of each request that gets a token in this step; [4, columns], int32."""
        draws = [r.state.logit_processor_kwargs.get("draw") for r in requests_in_batch if r.has_new_token]
        rows = [(0.0, 1.0, 0.0, 1) if draw is None else _numbers(draw) for draw in draws]
        if rows:
            floats = torch.tensor([row[:3] for row in rows], dtype=torch.float32).view(torch.int32).T
            arg_storage[:3, : len(rows)] = floats.to(arg_storage.device)
            arg_storage[3, : len(rows)] = torch.tensor([row[3] for row in rows], dtype=torch.int32).to(
                arg_storage.device
            )
        return arg_storage

    def __call__(
        self, _input_ids: torch.Tensor, scores: torch.Tensor, logits_processor_args: torch.Tensor
    ) -> torch.Tensor:
        """Return `scores` [requests, vocabulary] with the drawn token of each row at +inf."""
        args = logits_processor_args[:, : scores.size(0)]
        temperature, top_p, uniform = args[:3].contiguous().view(torch.float32).unsqueeze(-1)
        top_k = args[3].unsqueeze(-1)
        best, ids = scores.topk(min(MAX_TOP_K, scores.size(1)), dim=-1)  # [requests, 64], best first
        rank = torch.arange(best.size(1), device=best.device)
        weights = (best / temperature.clamp(min=1e-5)).softmax(-1)
        weights = weights.masked_fill(rank >= top_k.clamp(min=1), 0.0)
        weights = weights / weights.sum(-1, keepdim=True)
        before = weights.cumsum(-1) - weights
        weights = weights.masked_fill((before >= top_p) & (rank > 0), 0.0)  # keep until the mass reaches top-p
        reach = weights.cumsum(-1)
        chosen = (reach <= uniform * reach[:, -1:]).sum(-1, keepdim=True).clamp(max=best.size(1) - 1)
        chosen = torch.where(temperature <= 0, torch.zeros_like(chosen), chosen)
        return scores.scatter(1, ids.gather(1, chosen), float("inf"))


def _numbers(draw: Draw) -> tuple[float, float, float, int]:
    sampling = draw.sampling
    return sampling.temperature, sampling.top_p, draw.source.random(), sampling.top_k
