"""The real engine, on transformers' continuous batching: requests join and leave the batch at every step."""

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from traceback import clear_frames
from typing import Any

import torch
from transformers import GenerationConfig
from transformers.generation.continuous_batching.continuous_api import OutputRouter

from inference.engine.base import Delta, EngineError, EngineRequest, FinishReason
from inference.engine.checkpoint import read_checkpoint
from inference.engine.cpu.teams import IdleWait
from inference.engine.loading import batching_options, load_language_model, use_cpu_attention
from inference.engine.logprobs import make_room
from inference.engine.precision import Precision
from inference.engine.sampler import NO_TOKEN_ID, Draw, OnePassSampler, read_first_row_for_no_token
from inference.engine.scheduling import TOO_LARGE
from inference.engine.shown_tokens import ShownTokens
from inference.engine.text import TextAssembler, load_tokenizer
from inference.engine.vocabulary import Vocabulary

logger = logging.getLogger(__name__)

# What customers read when an answer was interrupted.
ENDED = "The model stopped."
OUT_OF_MEMORY = "The machine ran out of memory."


class BatchingEngine:
    """One loaded model and its batching thread, shared by all threads of the process."""

    def __init__(
        self,
        folder: Path,
        threads: int = 0,
        precision: Precision = "auto",
        *,
        cache_tokens: int = 32_768,
        ignores_stop_tokens: bool = False,
    ) -> None:
        """Load the weights and the tokenizer of `folder` and start batching. `threads`: CPU threads, 0 for torch's.

        The cache holds the keys and values of `cache_tokens` tokens in all layers. So its size is known before the
        model is loaded; the library alone would take most of a GPU's free memory and leave nothing to a second model.
        With `ignores_stop_tokens` every answer has its full length, for benchmarks.
        Raises CheckpointError for a folder that cannot be served, EngineError when the device cannot compute in
        `precision`.
        """
        checkpoint = read_checkpoint(folder)
        self._tokenizer, self._vocabulary = load_tokenizer(checkpoint)
        self._words = Vocabulary(self._tokenizer)
        self._stop_token_ids = frozenset(() if ignores_stop_tokens else checkpoint.stop_token_ids)
        if threads:
            torch.set_num_threads(threads)
        # In a thread that ends, so that its team of OpenMP threads ends too: see `engine.cpu.teams`.
        with ThreadPoolExecutor(1) as loader:
            model = loader.submit(load_language_model, folder, precision).result()
        self._manager = _make_batcher(model, cache_tokens, OnePassSampler(self._vocabulary))
        self._answers: dict[str, _Answer] = {}
        self._is_closed = False
        self._manager.start()
        self._delivery = threading.Thread(target=self._deliver, name="engine-delivery", daemon=True)
        self._delivery.start()

    def write(self, request: EngineRequest, on_delta: Callable[[Delta], None]) -> FinishReason:
        """See `Engine.write`. `on_delta` gets all but the last delta in the delivery thread."""
        if min(request.prompt_token_ids) < 0 or max(request.prompt_token_ids) >= self._vocabulary:
            raise EngineError("Its prompt has a token that this model does not know.")
        listed = None if request.top_logprobs is None else ShownTokens(self._words, request.top_logprobs)
        text = TextAssembler(self._tokenizer, request.stop, trims=request.trims_start, listed=listed)
        answer = _Answer(text, self._stop_token_ids, on_delta)
        self._answers[request.id] = answer
        try:
            accepted = self._manager.add_request(
                list(request.prompt_token_ids),
                request_id=request.id,
                max_new_tokens=request.max_tokens,
                streaming=True,
                eos_token_id=list(self._stop_token_ids),
                draw=Draw(request.sampling, asks_logprobs=request.top_logprobs is not None),
            )
            if accepted is None or not self.is_alive():
                answer.fail(EngineError(ENDED))
            return answer.wait(request.max_seconds)
        finally:
            self._answers.pop(request.id, None)
            if not answer.is_computed:  # else the batcher would cancel a later request with the same id
                self._manager.cancel_request(request.id)

    def cancel(self, request_id: str) -> None:
        answer = self._answers.get(request_id)
        if answer is not None:
            self._manager.cancel_request(request_id)  # now, as its thread may have to wait for a core
            answer.wake()

    def is_alive(self) -> bool:
        """See `Engine.is_alive`. Check it after adding a request: after a fatal error, `add_request` only logs."""
        return self._manager.is_running() and not self._is_closed

    def close(self) -> None:
        self._is_closed = True
        self._manager.stop(block=True, timeout=10, hard_stop=True)
        self._delivery.join(timeout=10)
        self._let_go()

    def _let_go(self) -> None:
        """Free weights and cache now, since failing requests and their tracebacks may keep this engine for longer."""
        self._manager.model = None
        error = self._manager.background_thread_status.fatal_error
        if error is not None:
            clear_frames(error.__traceback__)  # the frames of the failed step also keep the model

    def _deliver(self) -> None:
        """Give each step's outputs to their answers until the batching thread ends; then fail the remaining answers."""
        while True:
            outputs = self._manager.get_result(timeout=0.2)
            if outputs is None and not self.is_alive():
                break
            for output in outputs or ():
                if (answer := self._answers.get(output.request_id)) is not None:
                    answer.take(output)
        for answer in list(self._answers.values()):
            answer.fail(EngineError(ENDED))


class _Answer:
    """One answer. The delivery thread adds to it; the thread that called `write` waits until it has ended."""

    def __init__(self, text: TextAssembler, stop_token_ids: frozenset[int], on_delta: Callable[[Delta], None]) -> None:
        self.is_computed = False  # whether the batcher has finished it, so that no more tokens come
        self._text = text
        self._stop_token_ids = stop_token_ids
        self._on_delta = on_delta
        self._last: Delta | None = None
        self._error: Exception | None = None
        self._adding = threading.Lock()
        self._has_ended = threading.Event()

    def take(self, output: Any) -> None:
        """Pass on the new tokens of an output of the batcher, which has all tokens so far. Never raises."""
        with self._adding:
            if self._last or self._has_ended.is_set():
                return
            try:
                self._add(output)
            except Exception as error:  # noqa: BLE001  `wait` raises it
                self._error = error
            self.is_computed = bool(output.is_finished())
            if self._last or self._error:
                self._has_ended.set()

    def fail(self, error: EngineError) -> None:
        """Let `wait` raise this error, unless the answer has ended before."""
        self._error = self._error or error
        self._has_ended.set()

    def wake(self) -> None:
        """Let `wait` return now."""
        self._has_ended.set()

    def wait(self, seconds: float | None) -> FinishReason:
        """Wait for the end and pass on the last delta; after `wake` one with the reason `cancelled`.

        Raises EngineError, also if the answer has not ended after `seconds`.
        """
        in_time = self._has_ended.wait(seconds)
        self._has_ended.set()
        with self._adding:  # now the delivery thread adds no more
            last, error = self._last, self._error
        if last is None and error is not None:
            raise error
        if not in_time:
            raise EngineError("It took too long.")
        if last is None:
            last = self._delta(self._text.flush(), "cancelled")
        self._on_delta(last)
        return last.finish_reason or "cancelled"

    def _add(self, output: Any) -> None:
        text, is_ended = "", False
        for position in range(self._text.completion_tokens, len(output.generated_tokens)):
            token_id = output.generated_tokens[position]
            if token_id == NO_TOKEN_ID:
                raise EngineError("The model computed something that is not a number.")
            if is_ended := token_id in self._stop_token_ids:
                self._text.skip()
                break
            text += self._text.push(token_id, output.logprobs[position] if output.logprobs else None)
            if self._text.is_stopped:
                self._last = self._delta(text, "stop")
                return
        if output.error is not None:
            raise EngineError(_explain(output.error))
        if output.is_finished():
            self._last = self._delta(text + self._text.flush(), "stop" if is_ended else "length")
        else:
            self._on_delta(self._delta(text))

    def _delta(self, text: str, finish_reason: FinishReason | None = None) -> Delta:
        return Delta(text, self._text.completion_tokens, finish_reason, self._text.take_logprobs(len(text)))


class _StepRouter(OutputRouter):  # type: ignore[misc]
    """Queues all outputs of a step together; the library would queue each one separately."""

    def deliver(self, output: Any) -> None:
        """Queue the output of one failed request."""
        self.deliver_batch([output])

    def deliver_batch(self, outputs: list[Any]) -> None:
        """Queue the outputs of a step."""
        self.output_queue.put(outputs)


def _make_batcher(model: Any, cache_tokens: int, sampler: OnePassSampler) -> Any:
    """The library's batcher for `model`, with our sampler instead of its own. It is not started yet."""
    read_first_row_for_no_token(model.get_input_embeddings())
    manager = model.init_continuous_batching(
        generation_config=GenerationConfig(do_sample=False, eos_token_id=-1),  # each request brings its own
        continuous_batching_config=batching_options(model.device.type, cache_tokens),
    )
    manager.output_router = _StepRouter()
    if model.device.type == "cpu":
        use_cpu_attention(model)
        manager._wake_up_loop = IdleWait()  # noqa: SLF001  its thread waits for this while there are no requests
    manager.logit_processor = sampler
    make_processor = manager._create_batch_processor  # noqa: SLF001  the library makes it in its own thread

    def make_processor_with_sampler() -> Any:
        processor = make_processor()
        processor.model_runner._sample = sampler.take  # noqa: SLF001  its own argmax takes a tenth of a step on a CPU
        make_room(processor, lambda: sampler.asks_logprobs)
        return processor

    manager._create_batch_processor = make_processor_with_sampler  # noqa: SLF001
    return manager


def _explain(error: str) -> str:
    """The text for customers of an error of the batcher, which has logged its own text."""
    if error == TOO_LARGE:
        return error
    is_out_of_memory = "out of memory" in error or "allocate memory" in error  # CUDA's words, the processor's
    return OUT_OF_MEMORY if is_out_of_memory else ENDED
