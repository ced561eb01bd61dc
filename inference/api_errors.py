"""What the refusals of generations are called in the API."""

from accounts.api_problems import BY_STATUS, IDEMPOTENCY_CONFLICT, REFUSED, Kind, explain
from inference import prompts, services
from inference.catalogue import ModelUnavailable
from inference.retries import InvalidIdempotencyKey

TOO_MANY_ANSWERS = Kind(
    429, "too_many_answers", "Too many answers at once", "Wait until one ends, or cancel one that is running."
)
MODEL_UNAVAILABLE = Kind(422, "model_unavailable", "The model cannot answer here", "Choose another model.")
OTHER_REQUEST = {"detail": "This Idempotency-Key was used before, for another request."}

explain(prompts.InvalidPrompt, REFUSED)
explain(services.TooManyAnswers, TOO_MANY_ANSWERS)
explain(services.QueueUnavailable, BY_STATUS[503])
explain(services.IdempotencyConflict, IDEMPOTENCY_CONFLICT, lambda _error: OTHER_REQUEST)
explain(ModelUnavailable, MODEL_UNAVAILABLE)
explain(InvalidIdempotencyKey, BY_STATUS[400])
