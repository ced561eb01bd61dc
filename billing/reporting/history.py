"""The history of credits: its filters, its search and its pages."""

from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import urlencode

from django import forms
from django.core.paginator import Paginator
from django.db.models import Q, QuerySet
from django.utils.functional import cached_property
from django.utils.text import capfirst
from django.utils.translation import gettext_lazy as _

from accounts.models import User
from billing.models import EntryKind, LedgerEntry, Price
from core.days import first_moment, last_moment

SEARCH_CHARACTERS = 100
MOST_PAGED = 10_000  # entries that the pages reach
MOST_SEARCHED = 100_000  # entries that are searched for a text: a fifth of a second
MOST_DIGITS = 18  # of an entry's id: every such number fits PostgreSQL's bigint


def _day_field(label: Any) -> forms.DateField:
    return forms.DateField(
        label=label,
        required=False,
        widget=forms.DateInput(attrs={"class": "field", "type": "date"}, format="%Y-%m-%d"),
        error_messages={"invalid": _("Write a day as 2026-01-31.")},
    )


class HistoryForm(forms.Form):
    """The filters, from a query string. Every field may be left out, and days are UTC days."""

    entries_searched = 0  # how many entries were searched for a text if not all of them, else 0

    kind = forms.ChoiceField(
        label=_("What"),
        required=False,
        choices=lambda: [("", _("Everything")), *((kind.value, capfirst(str(kind.label))) for kind in EntryKind)],
        widget=forms.Select(attrs={"class": "field"}),
        error_messages={"invalid_choice": _("There is no such kind of movement.")},
    )
    text = forms.CharField(
        label=_("Reason or model"),
        required=False,
        max_length=SEARCH_CHARACTERS,
        widget=forms.TextInput(attrs={"class": "field", "type": "search"}),
    )
    since = _day_field(_("From"))
    until = _day_field(_("To"))

    def clean(self) -> dict[str, Any]:
        """Refuse a period that ends before it begins."""
        cleaned = super().clean() or self.cleaned_data
        since, until = cleaned.get("since"), cleaned.get("until")
        if since and until and since > until:
            self.add_error("until", _("This day is before the first one."))
        return cleaned

    def narrow(self, entries: QuerySet[LedgerEntry]) -> QuerySet[LedgerEntry]:
        """Return the entries that the filters ask for, or all entries when a filter is invalid."""
        return narrow(entries, **self.cleaned_data) if self.is_valid() else entries

    def narrow_latest(self, entries: QuerySet[LedgerEntry]) -> QuerySet[LedgerEntry]:
        """Do the same, but search a text only in the latest MOST_SEARCHED entries of the days and the kind."""
        if not self.is_valid() or not self.cleaned_data["text"]:
            return self.narrow(entries)
        of_days = narrow(entries, **self.cleaned_data | {"text": ""})
        searched = latest(of_days)
        self.entries_searched = 0 if searched is of_days else MOST_SEARCHED
        return narrow(searched, **self.cleaned_data)

    def query(self) -> str:
        """Return the valid filters as a query string for a link; empty when there are none."""
        in_force = self.cleaned_data if self.is_valid() else {}
        return urlencode({name: self.data[name] for name, value in in_force.items() if value})

    def errors_as_text(self) -> str:
        """Return what is wrong, one line for each field, for a response that is not a page."""
        return "".join(f"{name}: {' '.join(map(str, errors))}\n" for name, errors in self.errors.items())


def entries_of(user: User) -> QuerySet[LedgerEntry]:
    """Return this user's entries, the latest first, selected by the wallet's id as in the index.

    With a join on the user instead, PostgreSQL would walk back through the entries of all users to find the latest few.
    """
    return LedgerEntry.objects.filter(wallet=user.wallet).order_by("-pk")


def narrow(entries: QuerySet[LedgerEntry], *, kind: str, since: Any, until: Any, text: str) -> QuerySet[LedgerEntry]:
    """Keep the entries of one kind, of these days (both included) and with this text in the reason or the model.

    A filter that is empty or None keeps everything. For a text, a query first reads which of the models ever priced
    contain it. PostgreSQL can estimate how often a given model is used, but not how often a text is part of a key.
    """
    if kind:
        entries = entries.filter(kind=kind)
    if since:
        entries = entries.filter(created_at__gte=first_moment(since))
    if until:
        entries = entries.filter(created_at__lte=last_moment(until))
    if text:
        of_models = Price.objects.filter(model_key__icontains=text).values_list("model_key", flat=True)
        model_keys = list(of_models.order_by("model_key").distinct())
        is_found = Q(reason__icontains=text)
        entries = entries.filter(is_found | Q(hold__model_key__in=model_keys) if model_keys else is_found)
    return entries


def latest(entries: QuerySet[LedgerEntry]) -> QuerySet[LedgerEntry]:
    """Return the latest MOST_SEARCHED of these entries, so that a search always ends soon. One query."""
    beyond = entries.values_list("pk", flat=True)[MOST_SEARCHED : MOST_SEARCHED + 1].first()
    return entries if beyond is None else entries.filter(pk__gt=beyond)


class LatestPaginator(Paginator[LedgerEntry]):
    """Pages of the latest MOST_PAGED entries. To count all, or to skip to the last, would take longer and longer."""

    @cached_property
    def count(self) -> int:
        """How many entries the pages show."""
        return cast("QuerySet[LedgerEntry]", self.object_list)[:MOST_PAGED].count()

    @property
    def is_cut(self) -> bool:
        """Whether there are more."""
        return self.count == MOST_PAGED


@dataclass(frozen=True, slots=True)
class Opening:
    """The entries that are shown in pages, and the page to show. `begins_with` is kept in the links between pages."""

    entries: QuerySet[LedgerEntry]
    page: int = 1
    begins_with: str = ""


def open_at(entries: QuerySet[LedgerEntry], entry_id: str, entries_a_page: int) -> Opening:
    """Return the page of these entries, the latest first, that shows the entry with this id.

    For a text that is not an id, the first page. If the entry is beyond the latest MOST_PAGED, the pages begin with it
    and continue with older entries.
    """
    if not (entry_id.isascii() and entry_id.isdecimal() and len(entry_id) <= MOST_DIGITS):
        return Opening(entries)
    later = entries.filter(pk__gt=int(entry_id))[:MOST_PAGED].count()
    if later == MOST_PAGED:
        return Opening(entries.filter(pk__lte=int(entry_id)), begins_with=entry_id)
    return Opening(entries, later // entries_a_page + 1)
