"""The list of a customer's conversations: pinned ones, then the others by day, page by page."""

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

from django.db.models import Q
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext as _

from chat.conversations import MOST_PINNED
from chat.models import Conversation, ConversationQuerySet

PAGE_ROWS = 50
COLUMNS = ("id", "title", "updated_at", "pinned_at", "archived_at")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)

FIRST_YEAR, LAST_YEAR = 2000, 9000  # every time zone can write moments of these


class InvalidCursor(Exception):
    """The text does not name a place in the list."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """The last conversation of a page: the next page begins after it."""

    moment: datetime
    pk: UUID

    def __str__(self) -> str:
        return f"{(self.moment - EPOCH) // MICROSECOND}-{self.pk.hex}"

    @classmethod
    def parse(cls, text: str) -> "Cursor":
        """Read what `str` wrote. Raises InvalidCursor."""
        microseconds, _dash, pk = text.partition("-")
        try:
            moment = EPOCH + int(microseconds[:20]) * MICROSECOND
            if not FIRST_YEAR <= moment.year <= LAST_YEAR:
                raise ValueError(text)
            return cls(moment, UUID(pk))
        except (ValueError, OverflowError):
            raise InvalidCursor(text) from None


@dataclass(slots=True)
class Group:
    """Conversations under one label. `goes_on` says that the page before ended with the same label."""

    label: str
    goes_on: bool = False
    conversations: list[Conversation] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Page:
    """One page of the list. `after` is the cursor of the next page, None on the last."""

    groups: list[Group]
    after: Cursor | None


def read_list(user: Any, after: Cursor | None = None) -> Page:
    """One page of the customer's list, in one query. The pinned conversations stand on the first page."""
    rows = _later(Conversation.objects.for_user(user).listed(), "updated_at", after)
    if after is None:
        # A few more than can be pinned, for those who pinned two at once in two tabs.
        pinned = Conversation.objects.filter(user=user).pinned().only(*COLUMNS)[: 2 * MOST_PINNED]
        rows = pinned.union(rows, all=True)
    found = list(rows)  # a union promises no order
    pins = sorted((one for one in found if one.pinned_at), key=lambda one: one.pinned_at or EPOCH, reverse=True)
    unpinned = sorted(
        (one for one in found if not one.pinned_at), key=lambda one: (one.updated_at, one.pk), reverse=True
    )
    return _page([Group(_("Pinned"), conversations=pins)] if pins else [], unpinned, "updated_at", after)


def read_archive(user: Any, after: Cursor | None = None) -> Page:
    """One page of the customer's archive, in one query."""
    rows = _later(Conversation.objects.filter(user=user).archived(), "archived_at", after)
    return _page([], list(rows), "archived_at", after)


def _later(rows: ConversationQuerySet, column: str, after: Cursor | None) -> ConversationQuerySet:
    """The rows of the page after the cursor, and one more, which says that there is another page."""
    if after is not None:
        older = Q(**{f"{column}__lt": after.moment}) | Q(pk__lt=after.pk)
        rows = rows.filter(older, **{f"{column}__lte": after.moment})
    return rows.order_by(f"-{column}", "-pk").only(*COLUMNS)[: PAGE_ROWS + 1]


def _page(groups: list[Group], rows: list[Conversation], column: str, after: Cursor | None) -> Page:
    """The page of these rows, grouped by day; the one row too many becomes the cursor."""
    before = _label(after.moment) if after else ""
    for conversation in rows[:PAGE_ROWS]:
        label = _label(getattr(conversation, column))
        if not groups or groups[-1].label != label:
            groups.append(Group(label, goes_on=not groups and label == before))
        groups[-1].conversations.append(conversation)
    last = rows[PAGE_ROWS - 1] if len(rows) > PAGE_ROWS else None
    return Page(groups, Cursor(getattr(last, column), last.pk) if last else None)


def _label(moment: datetime) -> str:
    """The day, week or month of a moment, seen from today, in the reader's time zone."""
    today, day = timezone.localdate(), timezone.localtime(moment).date()
    if day >= today:
        return _("Today")
    if day == today - timedelta(days=1):
        return _("Yesterday")
    if day >= today - timedelta(days=today.weekday()):
        return _("This week")
    if _month(day) == _month(today):
        return _("This month")
    return date_format(day, "F" if day.year == today.year else "F Y")


def _month(day: date) -> date:
    return day.replace(day=1)
