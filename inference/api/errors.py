"""Registers how /api/v1/ reports the errors of inference: status, code and text of each exception."""

from core.rest.idempotency import HEADER, InvalidIdempotencyKey
from core.rest.problems import BY_STATUS, IDEMPOTENCY_CONFLICT, REFUSED, Kind, explain
from inference.catalogue import NOT_OFFERED, ModelUnavailable
from inference.generations import requesting
from inference.prompting import prompts

TOO_MANY_ANSWERS = Kind(
    429, "too_many_answers", "Too many answers at once", "Wait until one ends, or cancel one that is running."
)
TOO_LONG = Kind(422, "prompt_too_long", "The prompt is too long", "Shorten it, or choose a model with more context.")
MODEL_UNAVAILABLE = Kind(422, "model_unavailable", "The model cannot answer here", "Choose another model.")
MODEL_NOT_ALLOWED = Kind(403, "model_not_allowed", "The key may not ask this model", "Use another key, or model.")
OTHER_REQUEST = {"detail": "This Idempotency-Key was used before, for another request."}

explain(prompts.PromptTooLong, TOO_LONG)
explain(prompts.InvalidPrompt, REFUSED)
explain(requesting.TooManyAnswers, TOO_MANY_ANSWERS, lambda _error: {"wait_seconds": 1})
explain(requesting.QueueUnavailable, BY_STATUS[503])
explain(requesting.IdempotencyConflict, IDEMPOTENCY_CONFLICT, lambda _error: OTHER_REQUEST)
explain(requesting.ModelNotAllowed, MODEL_NOT_ALLOWED)
explain(ModelUnavailable, MODEL_UNAVAILABLE, lambda _error: {"detail": str(NOT_OFFERED)})
explain(InvalidIdempotencyKey, BY_STATUS[400], lambda error: {"errors": {HEADER: [str(error)]}})
