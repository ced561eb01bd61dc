"""Serializer fields that accept only the documented JSON types: no "12" for a number, no 1 for true.

REST framework's own fields are lenient: they turn a client's mistake into a value that it did not mean.
"""

from typing import Any

from django.core.validators import RegexValidator
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

MICROCREDITS_PER_CREDIT = 1_000_000
LEAST_YEAR, MOST_YEAR = 1900, 9000  # of a moment, which every time zone can write
MOST_MICROCREDITS = 2**53 - 1  # nine billion credits; JavaScript rounds larger integers


class Text(serializers.CharField):
    """A JSON string. Blanks at both ends are removed, so a string of blanks is empty."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        if not self.allow_blank and self.trim_whitespace:
            self.validators.append(
                # Shown as a pattern in the schema. Python removes these characters as blanks, too.
                RegexValidator(r"[^\s\x1c-\x1f\x85]")
            )

    def to_internal_value(self, data: Any) -> str:
        """Refuse numbers. The length limit applies before blanks are removed, as a reader of the schema expects."""
        if not isinstance(data, str):
            self.fail("invalid")
        if self.max_length is not None and len(data) > self.max_length:
            self.fail("max_length", max_length=self.max_length)
        return super().to_internal_value(data)


class Secret(Text):
    """A password as it was typed, blanks included. No answer contains it."""

    def __init__(self, **options: Any) -> None:
        super().__init__(trim_whitespace=False, write_only=True, max_length=128, **options)


class Email(serializers.EmailField):
    """An e-mail address."""

    def to_internal_value(self, data: Any) -> str:
        """Refuse all but strings; return the address in lower case."""
        if not isinstance(data, str):
            self.fail("invalid")
        return super().to_internal_value(data).lower()


class Integer(serializers.IntegerField):
    """A JSON number without a fraction."""

    def to_internal_value(self, data: Any) -> int:
        """Refuse strings, fractions and booleans."""
        if type(data) is not int:
            self.fail("invalid")
        return super().to_internal_value(data)


class Microcredits(Integer):
    """An amount of credits as an integer; 1 credit is 1,000,000 microcredits."""

    def __init__(self, **options: Any) -> None:
        options.setdefault("max_value", MOST_MICROCREDITS)
        options.setdefault("min_value", -MOST_MICROCREDITS)
        super().__init__(**options)


class Flag(serializers.BooleanField):
    """A JSON true or false."""

    def to_internal_value(self, data: Any) -> bool:
        """Refuse "yes", 1 and their like."""
        if not isinstance(data, bool):
            self.fail("invalid", input=data)
        return data


class Choice(serializers.ChoiceField):
    """One of a few strings."""

    def to_internal_value(self, data: Any) -> Any:
        """Refuse all but strings: REST framework would accept 1 for "1"."""
        if not isinstance(data, str):
            self.fail("invalid_choice", input=data)
        return super().to_internal_value(data)


class Identifier(serializers.UUIDField):
    """A UUID in its usual spelling."""

    def to_internal_value(self, data: Any) -> Any:
        """Refuse integers, and spellings of a UUID that only Python accepts."""
        if not isinstance(data, str) or len(data) != 36:
            self.fail("invalid", value=data)
        return super().to_internal_value(data)


class Instant(serializers.DateTimeField):
    """A moment in UTC, as 2026-11-22T14:09:00.000000Z."""

    def to_internal_value(self, value: Any) -> Any:
        """Refuse numbers, and moments without a UTC offset."""
        if not isinstance(value, str) or not (value[-1:] in "Zz" or value[-6:-5] in ("+", "-")):
            self.fail("invalid", format="2026-11-22T14:09:00Z")
        moment = super().to_internal_value(value)
        if not LEAST_YEAR <= moment.year <= MOST_YEAR:
            self.fail("invalid", format="2026-11-22T14:09:00Z")
        return moment


@extend_schema_field({"type": "string", "pattern": r"^-?\d+\.\d{6}$", "example": "0.081200"})
class Credits(serializers.Field[int, Any, str, int]):
    """An amount in credits as an exact decimal string with six decimals. `source` names the field in microcredits."""

    def __init__(self, source: str, **options: Any) -> None:
        options.setdefault("help_text", f"The same as {source}, in credits.")
        super().__init__(source=source, read_only=True, **options)

    def to_representation(self, value: int) -> str:
        """-320 microcredits are "-0.000320"."""
        return exact_credits(value)


class ApiInput(serializers.Serializer[Any]):
    """The body of a request. A field that does not exist is refused: a misspelt `amout` must not pass as left out."""

    def to_internal_value(self, data: Any) -> Any:
        """Check the fields, then that there are no others."""
        checked = super().to_internal_value(data)
        unknown = sorted(set(data) - set(self.fields))
        if unknown:
            raise serializers.ValidationError({name[:60]: ["There is no such field."] for name in unknown[:20]})
        return checked


def exact_credits(microcredits: int) -> str:
    """Return an amount in credits as text, with all six decimals."""
    whole, rest = divmod(abs(microcredits), MICROCREDITS_PER_CREDIT)
    return f"{'-' if microcredits < 0 else ''}{whole}.{rest:06d}"
