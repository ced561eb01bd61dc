"""What a customer used: charged credits by UTC day and model.

The ledger's entries are summed once, into a row for each wallet, day, model and key (`sum_new_usage`, every few
minutes). A customer's usage is these rows plus the entries since. So it is always current, and reading it takes as long
after a million answers as after a thousand. Where a period begins or ends within a day, the entries of that part of the
day are read.
"""

from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from django.db import connection, transaction
from django.db.models import Count, Max, Q, QuerySet, Subquery, Sum
from django.db.models.functions import TruncDate
from django.utils import timezone

from accounts.models import User
from billing.ledger.verification.proofs import last_settled_entry
from billing.models import EntryKind, LedgerEntry, UsageDay, UsageMark
from billing.reporting.history import entries_of
from core.days import first_moment, last_moment

Sums = tuple[date, str, int, int, int, int]  # day, model, answers, tokens in, tokens out, microcredits
COLUMNS = ("answers", "tokens_in", "tokens_out", "charged")

RANGES_DAYS = (7, 30, 90)
MOST_ENTRIES = 100_000  # summed in one transaction: a second of work, for which other calls wait

ADD_TO_DAYS = """
INSERT INTO billing_usageday AS d (
    wallet_id, day, model_key, api_key_id, answers_count, prompt_tokens, completion_tokens, charged_microcredits)
SELECT e.wallet_id, (e.created_at AT TIME ZONE 'UTC')::date, h.model_key, COALESCE(h.api_key_id, 0),
    COUNT(*), SUM(h.prompt_tokens), SUM(h.completion_tokens), -SUM(e.amount_microcredits)
FROM billing_ledgerentry e JOIN billing_hold h ON h.id = e.hold_id
WHERE e.kind = 'usage' AND e.id > %s AND e.id <= %s
GROUP BY 1, 2, 3, 4
ON CONFLICT (wallet_id, day, model_key, api_key_id) DO UPDATE SET
    answers_count = d.answers_count + EXCLUDED.answers_count,
    prompt_tokens = d.prompt_tokens + EXCLUDED.prompt_tokens,
    completion_tokens = d.completion_tokens + EXCLUDED.completion_tokens,
    charged_microcredits = d.charged_microcredits + EXCLUDED.charged_microcredits"""
DEFAULT_DAYS = 30
MOST_DAYS = 366


@dataclass(slots=True)
class ModelUse:
    """The answers of one model, summed over the range."""

    model_key: str
    answers: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    charged_microcredits: int = 0


@dataclass(frozen=True, slots=True)
class DayUse:
    """One UTC day: what each model cost in microcredits, in the order of `Usage.models`."""

    day: date
    charged_microcredits: tuple[int, ...]

    @property
    def total_microcredits(self) -> int:
        """What the day cost."""
        return sum(self.charged_microcredits)


@dataclass(frozen=True, slots=True)
class Usage:
    """The use of a range of days, the earliest first and none left out. The models are in the order of their keys."""

    models: list[ModelUse]
    days: list[DayUse]
    total: ModelUse


def parse_range(text: str | None) -> int:
    """Return the number of days that a link asks for, or the default if that is not one of RANGES_DAYS."""
    return next((days for days in RANGES_DAYS if str(days) == text), DEFAULT_DAYS)


def last_days(days: int) -> tuple[datetime, datetime]:
    """The first and the last moment of so many UTC days, today included."""
    today = timezone.now().astimezone(UTC).date()
    return first_moment(today - timedelta(days=days - 1)), last_moment(today)


def summarise_usage(
    user: User, *, since: datetime, until: datetime, key_id: int | None = None, end_user: str = ""
) -> Usage:
    """Sum what a user was charged for from one moment to another, both included and in UTC. Three queries at most.

    With `key_id`, only answers that were requested with that API key, or without a key if it is 0. With `end_user`,
    only answers on behalf of that end user of the customer; then all entries of the period are read.
    """
    models: dict[str, ModelUse] = {}
    charges: dict[tuple[date, str], int] = defaultdict(int)
    total = ModelUse("")
    for day, key, *sums in _sums(user, since, until, key_id, end_user):
        charges[day, key] += sums[-1]
        for use in (models.setdefault(key, ModelUse(key)), total):
            _add(use, *sums)
    keys = sorted(models)
    return Usage(
        models=[models[key] for key in keys],
        days=[DayUse(day, tuple(charges[day, key] for key in keys)) for day in _days(since, until)],
        total=total,
    )


@transaction.atomic
def sum_new_usage() -> bool:
    """Add the entries since the last time to the rows of their days; return whether there were any.

    It adds at most MOST_ENTRIES: call it until it finds none. Entries that are still being written are left to the next
    time.
    """
    mark = _lock_mark()
    new = LedgerEntry.objects.filter(pk__gt=mark.last_entry, pk__lte=last_settled_entry(timezone.now()))
    last_entry = new.order_by("pk")[:MOST_ENTRIES].aggregate(last=Max("pk"))["last"]
    if last_entry is None:
        return False
    with connection.cursor() as cursor:
        cursor.execute(ADD_TO_DAYS, [mark.last_entry, last_entry])
    UsageMark.objects.update(last_entry=last_entry)
    return True


@transaction.atomic
def forget_sums() -> None:
    """Delete all sums, so that summing begins again with the first entry. For when `verify_ledger` names a day."""
    _lock_mark()
    UsageDay.objects.all().delete()
    UsageMark.objects.update(last_entry=0)


def _lock_mark() -> UsageMark:
    """Lock and return the mark up to which entries are summed. Only one transaction sums at a time."""
    return UsageMark.objects.select_for_update().get_or_create(pk=1)[0]


def _sums(user: User, since: datetime, until: datetime, key_id: int | None, end_user: str) -> list[Sums]:
    """Return rows of days and models that add up to the use of a period.

    For whole days, these are the summed rows and the entries since. For parts of a day, all entries are read.
    """
    used = entries_of(user).filter(kind=EntryKind.USAGE)
    if key_id is not None:
        used = used.filter(hold__api_key=key_id or None)
    if end_user:
        used = used.filter(hold__generation__end_user=end_user)
    days = _whole_days(since, until)
    if end_user or not days:
        return _sum_entries(used.filter(created_at__range=(since, until)))
    begin, end = first_moment(days[0]), last_moment(days[-1])
    rows, last_entry = _read_days(user, days, key_id)
    rows += _sum_entries(used.filter(created_at__range=(begin, end), pk__gt=last_entry))
    if (since, until) != (begin, end):
        before, after = Q(created_at__gte=since, created_at__lt=begin), Q(created_at__gt=end, created_at__lte=until)
        rows += _sum_entries(used.filter(before | after))
    return rows


def _days(since: datetime, until: datetime) -> list[date]:
    """The UTC days that a period touches, the earliest first."""
    first = since.date()
    return [first + timedelta(days=offset) for offset in range((until.date() - first).days + 1)]


def _whole_days(since: datetime, until: datetime) -> list[date]:
    """Return the UTC days that lie in a period as a whole."""
    days = _days(since, until)
    if since != first_moment(days[0]):
        days = days[1:]
    return days if not days or until == last_moment(days[-1]) else days[:-1]


def _read_days(user: User, days: list[date], key_id: int | None) -> tuple[list[Sums], int]:
    """Return the summed rows of these days, and the entry up to which they are summed (0 if there are no rows).

    Both come from one statement, so nothing is counted twice or left out if entries are summed meanwhile.
    """
    summed = UsageDay.objects.filter(wallet=user.wallet, day__range=(days[0], days[-1])).values("day", "model_key")
    if key_id is not None:
        summed = summed.filter(api_key_id=key_id)
    sums = summed.annotate(
        answers=Sum("answers_count"),
        tokens_in=Sum("prompt_tokens"),
        tokens_out=Sum("completion_tokens"),
        charged=Sum("charged_microcredits"),
        last_entry=Subquery(UsageMark.objects.values("last_entry")[:1]),
    )
    rows = list(sums.values_list("day", "model_key", *COLUMNS, "last_entry"))
    return [row[:-1] for row in rows], rows[0][-1] if rows else 0


def _sum_entries(entries: QuerySet[LedgerEntry]) -> list[Sums]:
    """A row for each day and model of these entries. One query."""
    by_day = entries.order_by().annotate(day=TruncDate("created_at", tzinfo=UTC)).values("day", "hold__model_key")
    sums = by_day.annotate(
        answers=Count("pk"),
        tokens_in=Sum("hold__prompt_tokens"),
        tokens_out=Sum("hold__completion_tokens"),
        charged=-Sum("amount_microcredits"),
    )
    return list(sums.values_list("day", "hold__model_key", *COLUMNS))


def _add(use: ModelUse, answers: int, prompt_tokens: int, completion_tokens: int, charged_microcredits: int) -> None:
    use.answers += answers
    use.prompt_tokens += prompt_tokens
    use.completion_tokens += completion_tokens
    use.charged_microcredits += charged_microcredits
