"""Filters of time that every list shares: a UTC day, or a moment."""

from datetime import UTC, date, datetime, time
from typing import Any

import django_filters
from django import forms
from django.utils.translation import gettext_lazy as _
from drf_spectacular.utils import extend_schema_field

DAY_CHARACTERS = len("2026-01-31")
SCHEMA = {"anyOf": [{"type": "string", "format": "date"}, {"type": "string", "format": "date-time"}]}


class MomentField(forms.Field):
    """A day, which is its first moment or with `is_end` its last, or a moment with its offset."""

    default_error_messages = {"invalid": _("Write a UTC day as 2026-01-31, or a moment as 2026-01-31T12:00:00Z.")}

    def __init__(self, *, is_end: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self.is_end = is_end

    def to_python(self, value: Any) -> datetime | None:
        """In UTC. A plus that was not escaped in an address came as a blank."""
        if value in self.empty_values:
            return None
        text = str(value).upper().replace(" ", "+")
        try:
            if len(text) == DAY_CHARACTERS:
                return datetime.combine(date.fromisoformat(text), time.max if self.is_end else time.min, UTC)
            moment = datetime.fromisoformat(text)
        except ValueError:
            raise forms.ValidationError(self.error_messages["invalid"], code="invalid") from None
        if moment.tzinfo is None:
            raise forms.ValidationError(self.error_messages["invalid"], code="invalid")
        try:
            return moment.astimezone(UTC)
        except OverflowError:  # in the first or the last hours of the calendar
            return moment.replace(tzinfo=UTC)


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
