"""The contract that every engine keeps."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

MAX_TOP_K = 64  # the sampler draws among the best 64 tokens; Gemma 3's own recommendation is top-k 64
PENALTY_TOKENS = 64  # how far back a repetition penalty looks
MAX_REPETITION_PENALTY = 2.0  # well beyond what reads as language
MAX_TOKEN_PENALTY = 2.0  # of a frequency or a presence, either way: the bound of OpenAI's API
COUNTED_TOKENS = 256  # how many different tokens of an answer the frequency and presence penalties know
MAX_TOP_LOGPROBS = 20  # tokens named beside each token of an answer: the bound of OpenAI's API

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
    With `top_logprobs` (0 to MAX_TOP_LOGPROBS; None: not asked for) the deltas have the log probability of each token,
    and of so many of the likeliest in its place.
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
    """A token that could have come at some place: how it is written, and its log probability there.

    `text` is the token's text. Where its bytes are no whole characters they are spelled, as `\\xf0\\x9f`; a control
    token has its name, and `utf8`, the bytes, is None.
    """

    text: str
    logprob: float
    utf8: bytes | None


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """A token of an answer, the likeliest tokens in its place (best first), and the character of the shown text where
    its own text begins.

    A log probability is natural, and of the model's own distribution: the log-softmax of its logits over the whole
    vocabulary, before temperature, penalties, top-k, top-p and min-p.
    """

    at: int
    chosen: Candidate
    top: tuple[Candidate, ...]


@dataclass(frozen=True, slots=True)
class Delta:
    """Text that was added, how many tokens the engine has produced so far, and why it ended if it did.

    The last delta of a request, and no other, has a `finish_reason`. Text never holds half a character. `logprobs` are
    of the tokens whose text begins to be shown with this delta: each token of which some text is shown stands in one
    delta, also if a stop string or a blank that is left out cuts it. Those without shown text stand in none.
    """

    text: str
    completion_tokens: int
    finish_reason: FinishReason | None = None
    logprobs: tuple[TokenLogprob, ...] = ()


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
