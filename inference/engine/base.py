"""The contract that every engine keeps."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

MAX_TOP_K = 64  # the sampler draws among the best 64 tokens; Gemma 3's own recommendation is top-k 64
PENALTY_TOKENS = 64  # how far back a repetition penalty looks
MAX_REPETITION_PENALTY = 2.0  # well beyond what reads as language
MAX_TOKEN_PENALTY = 2.0  # of a frequency or a presence, either way: the bound of OpenAI's API
COUNTED_TOKENS = 256  # how many different tokens of an answer the frequency and presence penalties know

FinishReason = Literal["stop", "length", "cancelled"]


class EngineError(Exception):
    """The engine could not go on with this request. What it yielded before is valid."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next token is drawn. Temperature 0 takes the best one; the same seed draws the same way.

    `min_p` drops tokens less likely than this share of the best one's probability; 0 drops none.
    `repetition_penalty` divides the score of the last PENALTY_TOKENS tokens, the prompt's included; 1 leaves them.
    `frequency_penalty` is taken off a token's logit for each time the answer has it, `presence_penalty` once if it has
    it at all, as OpenAI defines them; below zero they make it likelier. They know the latest COUNTED_TOKENS different
    tokens of the answer.
    """

    temperature: float = 0.8
    top_p: float = 0.95
    top_k: int = MAX_TOP_K
    seed: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0


@dataclass(frozen=True, slots=True)
class EngineRequest:
    """One answer to write: the prompt as token ids, at most `max_tokens` new ones, cut at any `stop` string.

    After `max_seconds` (None: never) it ends with EngineError, however the engine fares. With `trims_start`, blanks
    around the answer are left out: the prompt is a transcript, and the model writes one after a speaker's name.
    """

    id: str
    prompt_token_ids: Sequence[int]
    max_tokens: int
    sampling: Sampling
    stop: tuple[str, ...] = ()
    max_seconds: float | None = None
    trims_start: bool = False


@dataclass(frozen=True, slots=True)
class Delta:
    """Text that was added, how many tokens the engine has produced so far, and why it ended if it did.

    The last delta of a request, and no other, has a `finish_reason`. Text never holds half a character.
    """

    text: str
    completion_tokens: int
    finish_reason: FinishReason | None = None


class Engine(Protocol):
    """One loaded model, shared by every thread of the process."""

    def write(self, request: EngineRequest, on_delta: Callable[[Delta], None]) -> FinishReason:
        """Write one answer; returns why it ended, after its last delta. Raises EngineError.

        `on_delta` gets each piece as it comes, one at a time, in this thread or in one that serves all requests: it
        must not wait. An error of its own ends the request, and is raised here.
        """
        ...

    def cancel(self, request_id: str) -> None:
        """End a request within one decode step; its last delta then says `cancelled`. Unknown ids are fine."""
        ...

    def is_alive(self) -> bool:
        """False once the engine can answer nothing more and must be built anew."""
        ...

    def close(self) -> None:
        """Free the memory. Requests that still run end with EngineError."""
        ...
