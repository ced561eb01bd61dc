"""Brings log probabilities from a step's logits to the request of their tokens, through the library's batcher.

They are stored in additional rows of the batcher's output tensor, next to the tokens that they belong to. The library
copies this tensor from the device without waiting, has one for each step that runs, and gives what is read from it to
the request. The request keeps it even if the library starts it again. Steps without a request for log probabilities
skip all of this.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from inference.engine.base import MAX_TOP_LOGPROBS
from inference.engine.shown_tokens import StepLogprobs

# Rows of the output tensor [OUTPUT_ROWS, columns], int32: first the ids of the drawn token and the likeliest ones, then
# their log probabilities as the bits of float32.
TOKENS = 1 + MAX_TOP_LOGPROBS
OUTPUT_ROWS = 2 * TOKENS


def pack(drawn: torch.Tensor, logprobs: torch.Tensor, best: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """The rows of a step for the output tensor: [OUTPUT_ROWS, requests], int32.

    `logprobs` is [requests, vocabulary]; `best` and `ids` are the largest of each of its rows; `drawn` is [requests].
    """
    rows = drawn.size(0)
    column = drawn.unsqueeze(-1)
    count = min(MAX_TOP_LOGPROBS, best.size(1))
    tokens = column.new_zeros((rows, TOKENS))
    values = best.new_full((rows, TOKENS), -torch.inf)  # a vocabulary may have fewer tokens than rows
    tokens[:, :1], tokens[:, 1 : 1 + count] = column, ids[:, :count]
    values[:, :1], values[:, 1 : 1 + count] = logprobs.gather(1, column.clamp(min=0)), best[:, :count]
    return torch.cat((tokens.to(torch.int32), values.view(torch.int32)), dim=1).T


def make_room(processor: Any, asks: Callable[[], bool]) -> None:
    """Give the library's batch processor an output tensor with all rows, and have it read log probabilities from it.

    `asks` tells whether a request of the step that is being prepared wants log probabilities. Such steps have CUDA
    graphs of their own, since a graph repeats exactly what was done when it was captured.
    """
    for tensors in _all_tensors(processor.inputs_and_outputs):
        old = tensors.output_ids
        tensors.output_ids = torch.zeros(
            (OUTPUT_ROWS, old.size(1)), dtype=old.dtype, device=old.device, pin_memory=old.is_pinned()
        )
        tensors.prepare_batch_update = partial(_read_step, tensors, tensors.prepare_batch_update)
        tensors._get_graph_key = partial(_graph_key, tensors._get_graph_key, asks)  # noqa: SLF001


def _all_tensors(inputs_and_outputs: Any) -> list[Any]:
    """The objects with the tensors of steps. Asynchronous batching has two steps, each on the host and the device."""
    pairs = getattr(inputs_and_outputs, "io_pairs", None)
    if pairs is None:
        return [inputs_and_outputs]
    return [tensors for pair in pairs for tensors in (pair.host_io, pair.device_io)]


def _graph_key(make_key: Callable[[], tuple[int, ...]], asks: Callable[[], bool]) -> tuple[int, ...]:
    return (*make_key(), int(asks()))


def _read_step(tensors: Any, read: Callable[[], tuple[Any, Any, Any]]) -> tuple[Any, Any, Any]:
    """The requests of a step, their new tokens, and for each new token its log probabilities or None.

    `read` is the library's own method, which reads all but the log probabilities.
    """
    requests, tokens, _none = read()
    states = [request.state for request in requests if request.has_new_token]
    asking = [column for column, state in enumerate(states) if _asks(state)]
    if not asking:
        return requests, tokens, None
    rows = tensors.output_ids[:, : len(states)].T.contiguous().cpu()
    ids, values = rows[:, :TOKENS], rows[:, TOKENS:].contiguous().view(torch.float32)
    found: list[StepLogprobs | None] = [None] * len(tokens)
    for column in asking:
        found[column] = ids[column].tolist(), values[column].tolist()
    return requests, tokens, found


def _asks(state: Any) -> bool:
    draw = state.logit_processor_kwargs.get("draw")
    return draw is not None and draw.asks_logprobs
