"""Fields of the API that only billing has."""

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from billing.currencies import from_minor
from billing.models import Package, TopUp


@extend_schema_field({"type": "string", "pattern": r"^\d+(\.\d+)?$", "example": "20.00"})
class Money(serializers.Field[Any, Any, str, Any]):
    """The decimal string beside an integer amount, with the decimals of the row's `currency`."""

    def __init__(self, amount: str) -> None:
        super().__init__(source="*", read_only=True, help_text=f"The same as {amount}, as people write it.")
        self.amount = amount

    def to_representation(self, value: Package | TopUp) -> str:
        """Return the amount as people write it: 2000 usd is "20.00", 2000 jpy is "2000"."""
        return f"{from_minor(getattr(value, self.amount), value.currency):f}"
