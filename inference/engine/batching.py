"""The real engine: Gemma 3 on transformers' continuous batching. Requests join and leave at every step."""

import logging
import queue
import threading
import time
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from traceback import clear_frames
from typing import Any

import torch
from tokenizers import Tokenizer
from transformers import GenerationConfig

from inference.engine.base import Delta, EngineError, EngineRequest
from inference.engine.loading import batching_options, load_language_model, use_cpu_attention
from inference.engine.precision import Precision
from inference.engine.sampler import NO_TOKEN_ID, Draw, OnePassSampler
from inference.engine.scheduling import TOO_LARGE
from inference.engine.text import TextAssembler

logger = logging.getLogger(__name__)

# Gemma 3's <eos>, <start_of_turn> and <end_of_turn>: a base model opens the next turn itself instead of ending.
STOP_TOKEN_IDS = [1, 105, 106]

# What customers read when an answer was interrupted.
ENDED = "The model stopped."
OUT_OF_MEMORY = "The machine ran out of memory."


class BatchingEngine:
    """One loaded model and its batching thread, shared by all threads of the process."""

    def __init__(
        self, folder: Path, threads: int = 0, precision: Precision = "auto", *, cache_tokens: int = 32_768
    ) -> None:
        """Load the weights and the tokenizer of `folder` and start batching. `threads`: CPU threads, 0 for torch's.

        The cache holds the keys and values of `cache_tokens` tokens in all layers: known before anything is loaded,
        where the library would take most of what a GPU has free, and leave nothing to a second model.
        Raises EngineError when the device cannot compute in `precision`.
        """
        if threads:
            torch.set_num_threads(threads)
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        # In a thread that ends: libgomp keeps a team of threads for each that ever computed, and while it has more of
        # them than cores, a team sleeps between any two operations.
        with ThreadPoolExecutor(1) as loader:
            model = loader.submit(load_language_model, folder, precision).result()
        self._manager = _make_batcher(model, cache_tokens)
        self._mailboxes: dict[str, queue.SimpleQueue[Any]] = {}
        self._is_closed = False
        self._manager.start()
        self._postman = threading.Thread(target=self._deliver, name="engine-postman", daemon=True)
        self._postman.start()

    def generate(self, request: EngineRequest) -> Iterator[Delta]:
        """See `Engine.generate`."""
        mailbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._mailboxes[request.id] = mailbox
        has_finished = False
        try:
            accepted = self._manager.add_request(
                list(request.prompt_token_ids),
                request_id=request.id,
                max_new_tokens=request.max_tokens,
                streaming=True,
                eos_token_id=STOP_TOKEN_IDS,
                draw=Draw(request.sampling),
            )
            if accepted is None or not self.is_alive():
                raise EngineError(ENDED)
            answer = TextAssembler(self._tokenizer, request.stop)
            has_finished = yield from self._read(mailbox, answer, request.max_seconds)
        finally:
            self._mailboxes.pop(request.id, None)
            if not has_finished:  # or the batcher would cancel, a step later, whoever has this id then
                self._manager.cancel_request(request.id)

    def cancel(self, request_id: str) -> None:
        """See `Engine.cancel`."""
        mailbox = self._mailboxes.get(request_id)
        if mailbox is not None:
            self._manager.cancel_request(request_id)  # now, though its reader may be busy elsewhere
            mailbox.put(None)

    def is_alive(self) -> bool:
        """See `Engine.is_alive`. After a fatal error the library's `add_request` only logs; this tells."""
        return self._manager.is_running() and not self._is_closed

    def close(self) -> None:
        """See `Engine.close`."""
        self._is_closed = True
        self._manager.stop(block=True, timeout=10, hard_stop=True)
        self._postman.join(timeout=10)
        self._let_go()

    def _let_go(self) -> None:
        """Drop weights and cache now: requests that are failing, and their tracebacks, may hold this engine longer."""
        self._manager.model = None
        error = self._manager.background_thread_status.fatal_error
        if error is not None:
            clear_frames(error.__traceback__)  # the frames of the step that failed hold the model too

    def _read(
        self, mailbox: "queue.SimpleQueue[Any]", answer: TextAssembler, max_seconds: float | None
    ) -> Generator[Delta, None, bool]:
        """Turn the batcher's outputs, each with all tokens so far, into deltas. None in the mailbox is Stop.

        Returns whether the batcher has finished the request: no token of it will be computed any more.
        """
        deadline = None if max_seconds is None else time.monotonic() + max_seconds
        while (output := _next(mailbox, deadline)) is not None:
            text = ""
            for token_id in output.generated_tokens[answer.completion_tokens :]:
                if token_id == NO_TOKEN_ID:
                    raise EngineError("The model computed something that is not a number.")
                text += answer.push(token_id)
                if answer.is_stopped:
                    yield Delta(text, answer.completion_tokens, "stop")
                    return bool(output.is_finished())
            if output.error is not None:
                raise EngineError(_explain(output.error))
            if output.is_finished():
                ended = output.generated_tokens[-1:] and output.generated_tokens[-1] in STOP_TOKEN_IDS
                yield Delta(text + answer.flush(), answer.completion_tokens, "stop" if ended else "length")
                return True
            yield Delta(text, answer.completion_tokens)
        yield Delta(answer.flush(), answer.completion_tokens, "cancelled")
        return False

    def _deliver(self) -> None:
        """Hand each output to its request until the batching thread ends; then tell those who still wait."""
        while True:
            output = self._manager.get_result(timeout=0.2)
            if output is not None:
                mailbox = self._mailboxes.get(output.request_id)
                if mailbox is not None:
                    mailbox.put(output)
            elif not self.is_alive():
                break
        for mailbox in list(self._mailboxes.values()):
            mailbox.put(EngineError(ENDED))


def _make_batcher(model: Any, cache_tokens: int) -> Any:
    """The library's batcher around `model`, with our sampler in the place of its own, not started yet."""
    manager = model.init_continuous_batching(
        generation_config=GenerationConfig(do_sample=False, eos_token_id=STOP_TOKEN_IDS),
        continuous_batching_config=batching_options(model.device.type, cache_tokens),
    )
    if model.device.type == "cpu":
        use_cpu_attention(model)
    sampler = manager.logit_processor = OnePassSampler()
    make_processor = manager._create_batch_processor  # noqa: SLF001  the library makes it in its own thread

    def make_processor_with_sampler() -> Any:
        processor = make_processor()
        processor.model_runner._sample = sampler.take  # noqa: SLF001  its own argmax takes a tenth of a step on a CPU
        return processor

    manager._create_batch_processor = make_processor_with_sampler  # noqa: SLF001
    return manager


def _explain(error: str) -> str:
    """What customers read of an error that the batcher names; it has logged its own words."""
    if error == TOO_LARGE:
        return error
    is_out_of_memory = "out of memory" in error or "allocate memory" in error  # CUDA's words, the processor's
    return OUT_OF_MEMORY if is_out_of_memory else ENDED


def _next(mailbox: "queue.SimpleQueue[Any]", deadline: float | None) -> Any:
    """The next output, or None for Stop. Raises EngineError when one came instead, or the deadline passed."""
    try:
        output = mailbox.get(timeout=None if deadline is None else max(0.0, deadline - time.monotonic()))
    except queue.Empty:
        raise EngineError("It took too long.") from None
    if isinstance(output, EngineError):
        raise output
    return output
