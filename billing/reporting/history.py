"""The history of credits: which movements a customer asks to see."""

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
MOST_PAGED = 10_000  # entries that can be leafed through
MOST_SEARCHED = 100_000  # entries that are looked through for a text: a fifth of a second
MOST_DIGITS = 18  # of the number of an entry: PostgreSQL's bigint takes them all


def _day_field(label: Any) -> forms.DateField:
    return forms.DateField(
        label=label,
        required=False,
        widget=forms.DateInput(attrs={"class": "field", "type": "date"}, format="%Y-%m-%d"),
        error_messages={"invalid": _("Write a day as 2026-01-31.")},
    )


class HistoryForm(forms.Form):
    """The filters, from a query string: every field may be left out, and days are days in UTC."""

    entries_searched = 0  # in how many entries a text was looked for, if there are more

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
        """The entries that the filters ask for; all of them when a filter makes no sense."""
        return narrow(entries, **self.cleaned_data) if self.is_valid() else entries

    def narrow_latest(self, entries: QuerySet[LedgerEntry]) -> QuerySet[LedgerEntry]:
        """The same, but for a text only the latest of the days and the kind are looked through (MOST_SEARCHED)."""
        if not self.is_valid() or not self.cleaned_data["text"]:
            return self.narrow(entries)
        of_days = narrow(entries, **self.cleaned_data | {"text": ""})
        searched = latest(of_days)
        self.entries_searched = 0 if searched is of_days else MOST_SEARCHED
        return narrow(searched, **self.cleaned_data)

    def query(self) -> str:
        """The filters that are in force, as a query string for a link; empty when there are none."""
        in_force = self.cleaned_data if self.is_valid() else {}
        return urlencode({name: self.data[name] for name, value in in_force.items() if value})

    def errors_as_text(self) -> str:
        """What is wrong, a line a field, for an answer that is not a page."""
        return "".join(f"{name}: {' '.join(map(str, errors))}\n" for name, errors in self.errors.items())


def entries_of(user: User) -> QuerySet[LedgerEntry]:
    """This user's entries, the latest first, by the number of their wallet, which is the order of the index.

    With a join on the user instead, PostgreSQL walks back through everybody's entries to find the latest few.
    """
    return LedgerEntry.objects.filter(wallet=user.wallet).order_by("-pk")


def narrow(entries: QuerySet[LedgerEntry], *, kind: str, since: Any, until: Any, text: str) -> QuerySet[LedgerEntry]:
    """Keep the entries of one kind, of these days (both included) and with this text in the reason or the model.

    A filter that is empty or None keeps everything. A text takes a query, for the models that were ever priced: how
    often each is used PostgreSQL knows, and how often a text is part of a key it does not.
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
    """The latest MOST_SEARCHED of these: looking through them ends soon however many there are. One query."""
    beyond = entries.values_list("pk", flat=True)[MOST_SEARCHED : MOST_SEARCHED + 1].first()
    return entries if beyond is None else entries.filter(pk__gt=beyond)


class LatestPaginator(Paginator[LedgerEntry]):
    """Pages of the latest MOST_PAGED entries: to count all, or to skip to the last, would take ever longer."""

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
    """Which entries are leafed through, from which page. `begins_with` is kept in the links between pages."""

    entries: QuerySet[LedgerEntry]
    page: int = 1
    begins_with: str = ""


def open_at(entries: QuerySet[LedgerEntry], entry_id: str, entries_a_page: int) -> Opening:
    """The page of these entries, the latest first, that shows one; the first for a text that is no number of an entry.

    An entry that the pages do not reach begins the first of its own pages, which go from there back.
    """
    if not (entry_id.isascii() and entry_id.isdecimal() and len(entry_id) <= MOST_DIGITS):
        return Opening(entries)
    later = entries.filter(pk__gt=int(entry_id))[:MOST_PAGED].count()
    if later == MOST_PAGED:
        return Opening(entries.filter(pk__lte=int(entry_id)), begins_with=entry_id)
    return Opening(entries, later // entries_a_page + 1)
