"""Which requests share the next step: the library's own first-come order, mended where one request could stop all.

A full cache makes the library set the newest requests back: they give up their place and read their text so far once
more later. Meanwhile it admits nobody until a request finishes. One that is cancelled, as by Stop or a stop string,
does not count there as finished, so the others would wait for ever. And one that can never fit into the cache
ends the batching thread, with everybody's answers.
"""

from typing import Any

from transformers.generation.continuous_batching.scheduler import SCHEDULER_MAPPING, FIFOScheduler

SCHEDULER = "tally_fifo"
TOO_LARGE = "It needs more memory than the model has here. Shorten it, or start a new chat."


class RequestTooLargeError(Exception):
    """Prompt and answer together have no room in the cache, even alone."""


class MendedScheduler(FIFOScheduler):  # type: ignore[misc]
    """See the module. Runs in the batching thread."""

    def add_waiting_request(self, state: Any) -> None:
        """Raises RequestTooLargeError, which the batcher makes this request's own error."""
        # Whoever was set back brings its text so far as prompt, and has as much less to write: the sum stays.
        # The last token is never read again.
        if not self._can_ever_fit(len(state.initial_tokens) + state.max_new_tokens - 1):
            raise RequestTooLargeError(TOO_LARGE)
        super().add_waiting_request(state)

    def clear_cancelled_requests(self) -> list[Any]:
        """Whoever was cancelled has made room: admit others again."""
        cancelled: list[Any] = super().clear_cancelled_requests()
        if cancelled:
            self.block_new_requests = False
        return cancelled

    def _can_ever_fit(self, tokens: int) -> bool:
        """Whether an empty cache has the sectors; each kind of attention takes whole ones."""
        sectors = 0
        for allocator in self.cache.cache_allocators.values():
            blocks = allocator.needs_new_blocks("", 0, tokens)
            sectors += -(-blocks // allocator.blocks_per_sector)
        return bool(sectors <= self.cache.num_sectors)


SCHEDULER_MAPPING[SCHEDULER] = MendedScheduler
