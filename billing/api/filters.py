"""Filters of billing's lists."""

import django_filters
from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema_field

from billing.models import EntryKind, Grant, Hold, HoldState, LedgerEntry, TopUp, TopUpState
from billing.reporting.history import MOST_SEARCHED, SEARCH_CHARACTERS, latest, narrow
from core.rest.filters import Since, Until


class EntryFilter(django_filters.FilterSet):  # type: ignore[misc]
    """The same filters as on the history page."""

    kind = django_filters.ChoiceFilter(choices=EntryKind.choices)
    since = Since("created_at")
    until = Until("created_at")
    text = django_filters.CharFilter(
        max_length=SEARCH_CHARACTERS,
        method="keep_text",
        help_text=f"Part of the reason or of the model's key. The latest {MOST_SEARCHED:,} entries are looked through.",
    )
    hold = django_filters.UUIDFilter(field_name="hold_id", help_text="The entries of one answer.")

    class Meta:
        model = LedgerEntry
        fields = ("kind",)

    @extend_schema_field({"type": "string", "minLength": 1, "maxLength": SEARCH_CHARACTERS})
    def keep_text(self, entries: QuerySet[LedgerEntry], _name: str, value: str) -> QuerySet[LedgerEntry]:
        """With this in the reason or the model. The filters before it have been applied."""
        return narrow(latest(entries), kind="", since=None, until=None, text=value)


class HoldFilter(django_filters.FilterSet):  # type: ignore[misc]
    """By state."""

    state = django_filters.ChoiceFilter(choices=HoldState.choices)

    class Meta:
        model = Hold
        fields = ("state",)


class TopUpFilter(django_filters.FilterSet):  # type: ignore[misc]
    """By state."""

    state = django_filters.ChoiceFilter(choices=TopUpState.choices)

    class Meta:
        model = TopUp
        fields = ("state",)


class GrantFilter(django_filters.FilterSet):  # type: ignore[misc]
    """By what is left."""

    is_spent = django_filters.BooleanFilter(help_text="Whether nothing is left.")

    class Meta:
        model = Grant
        fields: tuple[str, ...] = ()
