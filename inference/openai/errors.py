"""Converts our errors to those of OpenAI's API, so that its clients raise the exceptions that their users expect.

The official clients choose the exception by the status: 400 is BadRequestError, 401 AuthenticationError, 403
PermissionDeniedError, 404 NotFoundError, 409 ConflictError, 429 RateLimitError. They retry 409, 429 and 5xx by
themselves unless `x-should-retry` is false.
"""

from typing import Any

from django.core.exceptions import RequestDataTooBig
from django.http import JsonResponse
from django.utils.translation import gettext as _
from rest_framework.exceptions import AuthenticationFailed, NotAuthenticated

from accounts.callers.authentication import CHALLENGE
from billing.ledger import (
    CreditsOwed,
    InsufficientCredits,
    KeyCapReached,
    LedgerError,
    MonthlyCapReached,
    NoPrice,
)
from billing.templatetags.money import format_credits
from core.rest.idempotency import InvalidIdempotencyKey
from core.rest.throttles import RateLimited
from inference.catalogue import NOT_OFFERED, ModelUnavailable
from inference.generations.requesting import IdempotencyConflict, ModelNotAllowed, QueueUnavailable, TooManyAnswers
from inference.models import Generation, GenerationState
from inference.openai.access import ScopeMissing
from inference.prompting.prompts import InvalidPrompt, PromptTooLong


class OpenAIError(Exception):
    """An error in OpenAI's format. `may_retry`: the same request may succeed soon."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        param: str | None = None,
        *,
        kind: str = "invalid_request_error",
        may_retry: bool = False,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.may_retry = may_retry
        self.headers = headers or {}
        self.body: dict[str, Any] = {"error": {"message": message, "type": kind, "param": param, "code": code}}

    def response(self) -> JsonResponse:
        """The error as an HTTP response. In a stream, `body` is sent as an event instead."""
        headers = {"x-should-retry": "true" if self.may_retry else "false"} | self.headers
        return JsonResponse(self.body, status=self.status, headers=headers)


def from_service(error: Exception) -> OpenAIError:
    """Convert an error to OpenAI's format. Raises the error itself if it is not an expected one."""
    if isinstance(error, OpenAIError):
        return error
    return _of_caller(error) or _of_money(error) or _of_request(error)


def demand_answer(ended: Generation) -> None:
    """Raise OpenAIError if the answer failed or was cancelled before it began."""
    if ended.state == GenerationState.FAILED:
        message = _("The answer was interrupted and costs nothing. {reason}").format(reason=ended.error)
        raise OpenAIError(500, "generation_failed", message, kind="server_error", may_retry=True)
    if ended.state == GenerationState.CANCELLED:
        message = _("The answer was cancelled before it began. It costs nothing.")
        raise OpenAIError(409, "generation_cancelled", message)


def _of_caller(error: Exception) -> OpenAIError | None:
    match error:
        case NotAuthenticated():
            message = _("You sent no API key. Send it in an Authorization header: Bearer YOUR_KEY.")
            return OpenAIError(401, "invalid_api_key", message, headers={"WWW-Authenticate": CHALLENGE})
        case AuthenticationFailed():
            return OpenAIError(401, "invalid_api_key", str(error.detail), headers={"WWW-Authenticate": CHALLENGE})
        case ScopeMissing():
            return OpenAIError(403, "scope_missing", _("The API key lacks the scope chat. Make one that has it."))
        case ModelNotAllowed():
            return OpenAIError(403, "model_not_allowed", str(error), "model")
        case RateLimited():
            headers = {"Retry-After": str(max(1, int(error.wait)))}
            return OpenAIError(
                429, "rate_limit_exceeded", str(error.detail), kind="requests", may_retry=True, headers=headers
            )
        case TooManyAnswers():
            headers = {"Retry-After": "1"}  # an answer of theirs may end at any moment
            return OpenAIError(429, "too_many_answers", str(error), kind="requests", may_retry=True, headers=headers)
    return None


def _of_money(error: Exception) -> OpenAIError | None:
    match error:
        case NoPrice():
            return OpenAIError(503, "model_unavailable", str(NOT_OFFERED), "model", kind="server_error")
        case MonthlyCapReached():
            return OpenAIError(429, "cap_reached", _explain(error), kind="insufficient_quota")
        case KeyCapReached():
            return OpenAIError(429, "key_cap_reached", _explain(error), kind="insufficient_quota")
        case CreditsOwed():
            return OpenAIError(429, "credits_owed", _explain(error), kind="insufficient_quota")
        case LedgerError():
            return OpenAIError(429, "insufficient_quota", _explain(error), kind="insufficient_quota")
    return None


def _of_request(error: Exception) -> OpenAIError:
    match error:
        case PromptTooLong():
            return OpenAIError(400, "context_length_exceeded", str(error), "messages")
        case InvalidPrompt():
            return OpenAIError(400, "invalid_value", str(error), "messages")
        case ModelUnavailable():
            return OpenAIError(503, "model_unavailable", str(NOT_OFFERED), "model", kind="server_error")
        case IdempotencyConflict():
            message = _("This Idempotency-Key was used for another request. Use a new key for a new request.")
            return OpenAIError(409, "idempotency_conflict", message)
        case InvalidIdempotencyKey():
            return OpenAIError(400, "invalid_value", str(error), "Idempotency-Key")
        case QueueUnavailable():
            return OpenAIError(503, "service_unavailable", str(error), kind="server_error", may_retry=True)
        case RequestDataTooBig():
            return OpenAIError(413, "body_too_large", _("The body is too large. Send less."))
    raise error


def _explain(error: LedgerError) -> str:
    if isinstance(error, InsufficientCredits):
        return _("You have {available} credits free, and this needs at least {needed}. Top up, or shorten it.").format(
            available=format_credits(error.available_microcredits), needed=format_credits(error.needed_microcredits)
        )
    if isinstance(error, KeyCapReached):
        return _("This key may spend {room} more credits this month, and this needs at least {needed}.").format(
            room=format_credits(error.room_microcredits), needed=format_credits(error.needed_microcredits)
        )
    if isinstance(error, MonthlyCapReached):
        return _("Your monthly cap leaves {room} credits, and this needs at least {needed}. Raise it to go on.").format(
            room=format_credits(error.room_microcredits), needed=format_credits(error.needed_microcredits)
        )
    if isinstance(error, CreditsOwed):
        return _("You owe {owed} credits for a payment that was taken back. Top up to go on.").format(
            owed=format_credits(error.owed_microcredits)
        )
    return _("This could not be paid for: {reason}. Nothing was charged.").format(reason=error)
