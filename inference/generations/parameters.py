"""The caller of an answer and the parameters of its request."""

import secrets
from dataclasses import dataclass, field
from uuid import UUID

from django.utils.translation import gettext as _

from accounts.models import ApiKey
from inference.answer_cache import CacheUse
from inference.engine.base import MAX_REPETITION_PENALTY, MAX_TOKEN_PENALTY, MAX_TOP_K, MAX_TOP_LOGPROBS, Sampling
from inference.models import CatalogueModel
from inference.prompting.prompts import InvalidPrompt, sampling_defaults


@dataclass(frozen=True, slots=True)
class Caller:
    """Who requested an answer through an API, and how. A request from a page has PAGE.

    `api_key` is the key of the request, whose monthly cap applies too; None with an access token. `end_user` is the
    client's name for its own user. `attempt` counts the automatic retries of an official OpenAI client from 0; None for
    other clients. `cache` says to whom a deterministic answer may be repeated. `process_id` is the web process that has
    to hand the answer over; None if the client can fetch it again.
    """

    api_key: ApiKey | None = None
    end_user: str = ""
    attempt: int | None = None
    cache: CacheUse = CacheUse.OFF
    process_id: UUID | None = None


PAGE = Caller()


@dataclass(frozen=True, slots=True)
class Parameters:
    """The parameters of a request; None stands for the model's default. Raises InvalidPrompt for values out of range.

    `top_logprobs` is how many of the likeliest tokens are returned beside each token; None: no log probabilities.
    """

    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    seed: int | None = None
    stop: tuple[str, ...] = field(default=())
    min_p: float = 0.0
    repetition_penalty: float | None = None
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    top_logprobs: int | None = None

    def __post_init__(self) -> None:
        if not (self.temperature is None or 0 <= self.temperature <= 2):
            raise InvalidPrompt(_("Temperature is between 0 and 2."))
        if not (self.top_p is None or 0 < self.top_p <= 1):
            raise InvalidPrompt(_("Top-p is above 0 and at most 1."))
        if not (self.top_k is None or 1 <= self.top_k <= MAX_TOP_K):
            raise InvalidPrompt(_("Top-k is between 1 and {most}.").format(most=MAX_TOP_K))
        if not 0 <= self.min_p < 1:
            raise InvalidPrompt(_("Min-p is at least 0 and below 1."))
        self._refuse_penalties()
        if not (self.top_logprobs is None or 0 <= self.top_logprobs <= MAX_TOP_LOGPROBS):
            raise InvalidPrompt(_("At most {most} log probabilities beside each token.").format(most=MAX_TOP_LOGPROBS))
        if not (self.max_tokens is None or self.max_tokens >= 1):
            raise InvalidPrompt(_("The length is at least 1 token."))
        if len(self.stop) > 4 or not all(1 <= len(text) <= 200 for text in self.stop):
            raise InvalidPrompt(_("At most 4 stop strings of 1 to 200 characters."))

    def _refuse_penalties(self) -> None:
        if not (self.repetition_penalty is None or 1 <= self.repetition_penalty <= MAX_REPETITION_PENALTY):
            raise InvalidPrompt(
                _("The repetition penalty is between 1 and {most:g}.").format(most=MAX_REPETITION_PENALTY)
            )
        if not all(abs(value) <= MAX_TOKEN_PENALTY for value in (self.frequency_penalty, self.presence_penalty)):
            raise InvalidPrompt(
                _("Frequency and presence penalties are between -{most:g} and {most:g}.").format(most=MAX_TOKEN_PENALTY)
            )

    def sampling_of(self, model: CatalogueModel) -> Sampling:
        """How the engine draws tokens: as the request says, else by the defaults of the model's authors.

        Without a seed in the request, a random one is used. Raises ModelUnavailable when the model's files are not on
        this machine.
        """
        usual = sampling_defaults(model)
        return Sampling(
            temperature=usual.temperature if self.temperature is None else self.temperature,
            top_p=usual.top_p if self.top_p is None else self.top_p,
            top_k=usual.top_k if self.top_k is None else self.top_k,
            seed=secrets.randbits(31) if self.seed is None else self.seed,
            min_p=self.min_p,
            repetition_penalty=(
                usual.repetition_penalty if self.repetition_penalty is None else self.repetition_penalty
            ),
            frequency_penalty=self.frequency_penalty,
            presence_penalty=self.presence_penalty,
        )
