"""Time filters of lists and of usage: each takes a UTC day or a moment."""

from datetime import UTC, date, datetime
from typing import Any

import django_filters
from django import forms
from django.utils.translation import gettext_lazy as _
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from core.days import first_moment, last_moment

DAY_CHARACTERS = len("2026-01-31")
SCHEMA = {"anyOf": [{"type": "string", "format": "date"}, {"type": "string", "format": "date-time"}]}
INVALID = _("Write a UTC day as 2026-01-31, or a moment as 2026-01-31T12:00:00Z.")


def read_moment(text: str, *, is_end: bool = False) -> datetime:
    """Return the UTC moment that a text names; for a day its first moment, or with `is_end` its last.

    A blank counts as a plus, because an unescaped plus in a URL arrives as a blank. Raises ValueError for any other
    text, and for a moment without a UTC offset.
    """
    text = text.upper().replace(" ", "+")
    if len(text) == DAY_CHARACTERS:
        day = date.fromisoformat(text)
        return last_moment(day) if is_end else first_moment(day)
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text} says no offset")
    try:
        return moment.astimezone(UTC)
    except OverflowError:  # the offset moves it before year 1 or after year 9999
        return moment.replace(tzinfo=UTC)


class MomentField(forms.Field):
    """A day or a moment in the filter of a list, as a form field."""

    default_error_messages = {"invalid": INVALID}

    def __init__(self, *, is_end: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self.is_end = is_end

    def to_python(self, value: Any) -> datetime | None:
        if value in self.empty_values:
            return None
        try:
            return read_moment(str(value), is_end=self.is_end)
        except ValueError:
            raise forms.ValidationError(self.error_messages["invalid"], code="invalid") from None


@extend_schema_field(SCHEMA)
class Moment(serializers.Field[datetime, str, datetime, Any]):
    """A day or a moment in the query string of an operation that is not a list."""

    default_error_messages = {"invalid": INVALID}

    def __init__(self, *, is_end: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self.is_end = is_end

    def to_internal_value(self, data: str) -> datetime:
        try:
            return read_moment(data, is_end=self.is_end)
        except ValueError:
            self.fail("invalid")


@extend_schema_field(SCHEMA)
class Since(django_filters.Filter):  # type: ignore[misc]
    """From this day or moment on."""

    field_class = MomentField

    def __init__(self, field_name: str, **options: Any) -> None:
        options.setdefault("help_text", "From this UTC day, or this moment, on.")
        super().__init__(field_name, lookup_expr="gte", **options)


@extend_schema_field(SCHEMA)
class Until(django_filters.Filter):  # type: ignore[misc]
    """Up to this day or moment."""

    field_class = MomentField

    def __init__(self, field_name: str, **options: Any) -> None:
        options.setdefault("help_text", "Up to this UTC day, or this moment, included.")
        super().__init__(field_name, lookup_expr="lte", is_end=True, **options)
