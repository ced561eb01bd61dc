"""The interface of engines: requests, deltas, limits, and the protocol `Engine`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

MAX_TOP_K = 64  # the sampler draws among the best 64 tokens; Gemma 3's own recommendation is top-k 64
PENALTY_TOKENS = 64  # the repetition penalty applies to so many last tokens
MAX_REPETITION_PENALTY = 2.0  # well beyond the values that still give readable text
MAX_TOKEN_PENALTY = 2.0  # the absolute limit of the frequency and presence penalties, as in OpenAI's API
COUNTED_TOKENS = 256  # the frequency and presence penalties count so many different tokens of an answer
MAX_TOP_LOGPROBS = 20  # the most tokens returned beside each token of an answer, as in OpenAI's API

FinishReason = Literal["stop", "length", "cancelled"]


class EngineError(Exception):
    """The engine could not finish this request. The deltas before are valid."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next token is drawn. Temperature 0 takes the likeliest token; the same seed gives the same draws.

    `min_p` drops tokens that are less likely than this share of the likeliest token's probability; 0 drops none.
    `repetition_penalty` divides the scores of the last PENALTY_TOKENS tokens, also of the prompt; 1 changes nothing.
    As OpenAI defines them, `frequency_penalty` is subtracted from a token's logit once for each time that the answer
    has the token, and `presence_penalty` once if the answer has it at all; negative values make it likelier. Both count
    the latest COUNTED_TOKENS different tokens of the answer.
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

    After `max_seconds` (None: never) it ends with EngineError, whatever the engine does. With `trims_start`, blanks at
    the start and the end of the answer are left out: in a transcript, the model writes a blank after a speaker's name.
    With `top_logprobs` (0 to MAX_TOP_LOGPROBS; None: no log probabilities), the deltas have the log probability of each
    token and of so many likeliest tokens in its place.
    """

    id: str
    prompt_token_ids: Sequence[int]
    max_tokens: int
    sampling: Sampling
    stop: tuple[str, ...] = ()
    max_seconds: float | None = None
    trims_start: bool = False
    top_logprobs: int | None = None


@dataclass(frozen=True, slots=True)
class Candidate:
    """A possible token at a place in the answer: its text, and its log probability there.

    `utf8` are the token's bytes. If they are not whole characters, `text` has them as escapes like `\\xf0\\x9f`. For a
    control token, `text` is its name and `utf8` is None.
    """

    text: str
    logprob: float
    utf8: bytes | None


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """A token of an answer (`chosen`), and the likeliest tokens in its place, likeliest first (`top`).

    `at` is the index of the character in the shown text where the token's text begins. Log probabilities are natural
    logarithms of the model's own distribution: the log-softmax of its logits over the whole vocabulary, before
    temperature, penalties, top-k, top-p and min-p.
    """

    at: int
    chosen: Candidate
    top: tuple[Candidate, ...]


@dataclass(frozen=True, slots=True)
class Delta:
    """The text that was added, the number of tokens produced so far, and in the last delta the reason for the end.

    Only the last delta of a request has a `finish_reason`. Text never has an incomplete character. `logprobs` are those
    of the tokens whose text begins in this delta. Each token with some shown text is in exactly one delta, also if a
    part of its text is left out at a stop string or as a blank. Tokens without shown text are in none.
    """

    text: str
    completion_tokens: int
    finish_reason: FinishReason | None = None
    logprobs: tuple[TokenLogprob, ...] = ()


class Engine(Protocol):
    """One loaded model, shared by every thread of the process."""

    def write(self, request: EngineRequest, on_delta: Callable[[Delta], None]) -> FinishReason:
        """Write one answer. Returns the finish reason, after the last delta. Raises EngineError.

        `on_delta` is called with each delta, one at a time, in this thread or in one that serves all requests; so it
        must not block. If it raises an error, the request ends and the error is raised here.
        """
        ...

    def cancel(self, request_id: str) -> None:
        """End a request within one decode step; its last delta has the reason `cancelled`. Unknown ids are ignored."""
        ...

    def is_alive(self) -> bool:
        """False if the engine cannot answer any more and must be replaced by a new one."""
        ...

    def close(self) -> None:
        """Free the memory. Requests that still run end with EngineError."""
        ...
