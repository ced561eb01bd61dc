"""Requests that are sent twice."""

from typing import Any

from django.db.models import Model


def asked_the_same(earlier: Model, **inputs: Any) -> bool:
    """Whether the request that made the row `earlier` had the same inputs, by the row's fields.

    If not, its idempotency key was used for another request.
    """
    return all(getattr(earlier, name) == value for name, value in inputs.items())
