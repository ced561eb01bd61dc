"""Requests that are sent twice."""

from typing import Any

from django.db.models import Model


def asked_the_same(earlier: Model, **inputs: Any) -> bool:
    """Whether the request that made a row had these inputs, by the row's fields; else its key was used for another."""
    return all(getattr(earlier, name) == value for name, value in inputs.items())
