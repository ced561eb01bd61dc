"""The real engine: Gemma 3 on transformers' continuous batching. Requests join and leave at every step."""

import logging
import queue
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from transformers import (
    AutoConfig,
    Gemma3ForCausalLM,
    Gemma3ForConditionalGeneration,
    GenerationConfig,
)
from transformers.generation.configuration_utils import ContinuousBatchingConfig

from inference.engine.base import Delta, EngineError, EngineRequest
from inference.engine.sampler import Draw, OnePassSampler
from inference.engine.text import TextAssembler

logger = logging.getLogger(__name__)

# Gemma 3's <eos>, <start_of_turn> and <end_of_turn>: a base model opens the next turn itself instead of ending.
STOP_TOKEN_IDS = [1, 105, 106]
CPU_BATCHING = {
    "page_size": 32,
    "num_blocks": 1024,  # 32,768 tokens for all requests together
    "max_batch_tokens": 512,
    "max_requests_per_batch": 32,
    "max_memory_percent": 0.9,  # of what is free; the library's 0.6 refuses to start on a machine of 8 GB
}


def load_language_model(folder: Path) -> Gemma3ForCausalLM:
    """Load a Gemma 3 folder: the text models as they are, of the multimodal ones only the language model.

    float32 on a CPU (bfloat16 matrix products are emulated there), bfloat16 on a GPU.
    """
    cuda = torch.cuda.is_available()
    options: dict[str, Any] = {"dtype": torch.bfloat16 if cuda else torch.float32, "local_files_only": True}
    if cuda:
        options["device_map"] = "auto"
    if AutoConfig.from_pretrained(folder, local_files_only=True).model_type == "gemma3_text":
        return Gemma3ForCausalLM.from_pretrained(folder, **options)
    whole = Gemma3ForConditionalGeneration.from_pretrained(folder, **options)
    with torch.device("meta"):
        language = Gemma3ForCausalLM(whole.config.text_config)
    language.model, language.lm_head = whole.model.language_model, whole.lm_head
    return language


class BatchingEngine:
    """One loaded model and its batching thread, shared by all threads of the process."""

    def __init__(self, folder: Path, threads: int = 0) -> None:
        """Load the weights and the tokenizer of `folder` and start batching. `threads`: CPU threads, 0 for torch's."""
        if threads:
            torch.set_num_threads(threads)
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        model = load_language_model(folder)
        options = {} if model.device.type == "cuda" else CPU_BATCHING
        self._manager = model.init_continuous_batching(
            generation_config=GenerationConfig(do_sample=False, eos_token_id=STOP_TOKEN_IDS),
            continuous_batching_config=ContinuousBatchingConfig(**options),
        )
        self._manager.logit_processor = OnePassSampler()
        self._mailboxes: dict[str, queue.SimpleQueue[Any]] = {}
        self._is_closed = False
        self._manager.start()
        self._postman = threading.Thread(target=self._deliver, name="engine-postman", daemon=True)
        self._postman.start()

    def generate(self, request: EngineRequest) -> Iterator[Delta]:
        """See `Engine.generate`."""
        mailbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._mailboxes[request.id] = mailbox
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
                raise EngineError("the batching thread has ended")
            yield from self._read(mailbox, TextAssembler(self._tokenizer, request.stop))
        finally:
            self._mailboxes.pop(request.id, None)
            self._manager.cancel_request(request.id)  # nothing to do for one that finished

    def cancel(self, request_id: str) -> None:
        """See `Engine.cancel`."""
        mailbox = self._mailboxes.get(request_id)
        if mailbox is not None:
            mailbox.put(None)

    def is_alive(self) -> bool:
        """See `Engine.is_alive`. After a fatal error the library's `add_request` only logs; this tells."""
        return self._manager.is_running() and not self._is_closed

    def close(self) -> None:
        """See `Engine.close`."""
        self._is_closed = True
        self._manager.stop(block=True, timeout=10, hard_stop=True)
        self._postman.join(timeout=10)

    def _read(self, mailbox: "queue.SimpleQueue[Any]", answer: TextAssembler) -> Iterator[Delta]:
        """Turn the batcher's outputs, each with all tokens so far, into deltas. None in the mailbox is Stop."""
        while (output := mailbox.get()) is not None:
            if isinstance(output, EngineError):
                raise output
            text = ""
            for token_id in output.generated_tokens[answer.completion_tokens :]:
                text += answer.push(token_id)
                if answer.is_stopped:
                    yield Delta(text, answer.completion_tokens, "stop")
                    return
            if output.error is not None:
                raise EngineError(output.error)
            if output.is_finished():
                ended = output.generated_tokens[-1:] and output.generated_tokens[-1] in STOP_TOKEN_IDS
                yield Delta(text + answer.flush(), answer.completion_tokens, "stop" if ended else "length")
                return
            yield Delta(text, answer.completion_tokens)
        yield Delta(answer.flush(), answer.completion_tokens, "cancelled")

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
            mailbox.put(EngineError("the batching thread has ended"))
