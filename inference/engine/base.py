"""The contract that every engine keeps."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

MAX_TOP_K = 64  # the sampler draws among the best 64 tokens; Gemma 3's own recommendation is top-k 64

FinishReason = Literal["stop", "length", "cancelled"]


class EngineError(Exception):
    """The engine could not go on with this request. What it yielded before is valid."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next token is drawn. Temperature 0 takes the best one; the same seed draws the same way."""

    temperature: float = 0.8
    top_p: float = 0.95
    top_k: int = MAX_TOP_K
    seed: int = 0


@dataclass(frozen=True, slots=True)
class EngineRequest:
    """One answer to write: the prompt as token ids, at most `max_tokens` new ones, cut at any `stop` string."""

    id: str
    prompt_token_ids: Sequence[int]
    max_tokens: int
    sampling: Sampling
    stop: tuple[str, ...] = ()


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

    def generate(self, request: EngineRequest) -> Iterator[Delta]:
        """Yield the answer as it is written. Raises EngineError; closing the iterator frees the slot."""
        ...

    def cancel(self, request_id: str) -> None:
        """End a request within one decode step; its iterator then ends with `cancelled`. Unknown ids are fine."""
        ...

    def is_alive(self) -> bool:
        """False once the engine can answer nothing more and must be built anew."""
        ...

    def close(self) -> None:
        """Free the memory. Requests that still run end with EngineError."""
        ...
