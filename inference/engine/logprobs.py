"""Log probabilities on their way from a step's logits to the tokens of an answer.

They travel in further rows of the batcher's own output tensor, beside the tokens that they belong to: the library
copies it from the device without waiting, keeps one for each step under way, and hands what is read from it to the
request, which keeps it even if it is begun anew. Nothing of it happens in a step in which no request asks.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from inference.engine.base import MAX_TOP_LOGPROBS
from inference.engine.shown_tokens import StepLogprobs

# Rows of the output tensor [OUTPUT_ROWS, columns], int32: the drawn token and the best ones, then float32 bits.
TOKENS = 1 + MAX_TOP_LOGPROBS
OUTPUT_ROWS = 2 * TOKENS


def pack(drawn: torch.Tensor, logprobs: torch.Tensor, best: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """The rows of a step [OUTPUT_ROWS, requests], int32.

    `logprobs` are [requests, vocabulary], `best` and `ids` the largest of each row, `drawn` [requests].
    """
    rows = drawn.size(0)
    column = drawn.unsqueeze(-1)
    count = min(MAX_TOP_LOGPROBS, best.size(1))
    tokens = column.new_zeros((rows, TOKENS))
    values = best.new_full((rows, TOKENS), -torch.inf)  # a vocabulary may have fewer tokens than there are places
    tokens[:, :1], tokens[:, 1 : 1 + count] = column, ids[:, :count]
    values[:, :1], values[:, 1 : 1 + count] = logprobs.gather(1, column.clamp(min=0)), best[:, :count]
    return torch.cat((tokens.to(torch.int32), values.view(torch.int32)), dim=1).T


def make_room(processor: Any, asks: Callable[[], bool]) -> None:
    """Give the library's batch processor an output tensor with all rows, and have it read them where requests ask.

    `asks` says whether a request of the step that is being prepared asks. Such steps have CUDA graphs of their own:
    a graph repeats what was done when it was captured.
    """
    for tensors in _all_tensors(processor.inputs_and_outputs):
        old = tensors.output_ids
        tensors.output_ids = torch.zeros(
            (OUTPUT_ROWS, old.size(1)), dtype=old.dtype, device=old.device, pin_memory=old.is_pinned()
        )
        tensors.prepare_batch_update = partial(_read_step, tensors, tensors.prepare_batch_update)
        tensors._get_graph_key = partial(_graph_key, tensors._get_graph_key, asks)  # noqa: SLF001


def _all_tensors(inputs_and_outputs: Any) -> list[Any]:
    """What holds the tensors of a step; asynchronous batching has two steps, each on the host and on the device."""
    pairs = getattr(inputs_and_outputs, "io_pairs", None)
    if pairs is None:
        return [inputs_and_outputs]
    return [tensors for pair in pairs for tensors in (pair.host_io, pair.device_io)]


def _graph_key(make_key: Callable[[], tuple[int, ...]], asks: Callable[[], bool]) -> tuple[int, ...]:
    return (*make_key(), int(asks()))


def _read_step(tensors: Any, read: Callable[[], tuple[Any, Any, Any]]) -> tuple[Any, Any, Any]:
    """The requests of a step, their new tokens, and for each new token its log probabilities, or None."""
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
