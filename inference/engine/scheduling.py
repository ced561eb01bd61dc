"""Schedules requests for the next step: the library's first-in-first-out scheduler, with two faults corrected.

When the cache is full, the library evicts the newest requests: they lose their place in the cache, and later read their
text so far again. Until a request finishes, it admits no new ones. First, a cancelled request (by the user's Stop, or
at a stop string) does not count as finished, so other requests could wait for ever. Second, a request that can never
fit into the cache ends the batching thread, and with it all answers.
"""

from typing import Any

from transformers.generation.continuous_batching.scheduler import SCHEDULER_MAPPING, FIFOScheduler

SCHEDULER = "tally_fifo"
TOO_LARGE = "It needs more memory than the model has here. Shorten it, or start a new chat."


class RequestTooLargeError(Exception):
    """The prompt and the answer of this request do not fit into the cache, even if it is empty."""


class MendedScheduler(FIFOScheduler):  # type: ignore[misc]
    """The corrected scheduler; see the module. Its methods run in the batching thread."""

    def add_waiting_request(self, state: Any) -> None:
        """Add a request. Raises RequestTooLargeError, with which the batcher fails only this request."""
        # An evicted request returns with its text so far in the prompt and so many fewer tokens to write, so the sum is
        # the same. The last token needs no room, since it is never read.
        if not self._can_ever_fit(len(state.initial_tokens) + state.max_new_tokens - 1):
            raise RequestTooLargeError(TOO_LARGE)
        super().add_waiting_request(state)

    def clear_cancelled_requests(self) -> list[Any]:
        """Remove cancelled requests. If there are any, admit new requests again, since the cache has room."""
        cancelled: list[Any] = super().clear_cancelled_requests()
        if cancelled:
            self.block_new_requests = False
        return cancelled

    def _can_ever_fit(self, tokens: int) -> bool:
        """Whether so many tokens fit into an empty cache. Each kind of attention takes whole sectors of it."""
        sectors = 0
        for allocator in self.cache.cache_allocators.values():
            blocks = allocator.needs_new_blocks("", 0, tokens)
            sectors += -(-blocks // allocator.blocks_per_sector)
        return bool(sectors <= self.cache.num_sectors)


SCHEDULER_MAPPING[SCHEDULER] = MendedScheduler
