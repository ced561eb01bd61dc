"""The ledger by day, over all wallets: what reports of money and usage are made of (docs/adr/0051).

Entries are summed once, into rows of their day, kind, origin and model (`sum_new_days`, every ten minutes). A report is
these rows plus the entries since. So it is current to the last entry, and takes as long after a hundred million entries
as after a thousand. The days are those of REPORTING_TIME_ZONE; when that changes, all are summed anew.
"""

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Max
from django.utils import timezone

from billing.ledger.verification.proofs import last_settled_entry
from billing.models import EntryKind, LedgerDay, LedgerDaysMark, LedgerEntry
from core import sql

MOST_ENTRIES = 100_000  # summed in one transaction: a second of work

PACKAGE, UP, DOWN = "package", "up", "down"
REFUNDED, REFUND_FAILED, DISPUTED, DISPUTE_WON, DEBT = "refunded", "refund failed", "disputed", "dispute won", "debt"

# Where entries of one kind come from: bonuses from a package or else from signing up, adjustments up or down, and
# chargebacks by the reasons that `billing.topups.orders` writes; the rest of them are payments of debts.
ORIGIN = f"""
CASE e.kind
    WHEN 'bonus' THEN CASE WHEN starts_with(e.idempotency_key, 'topup-bonus:') THEN '{PACKAGE}' ELSE '' END
    WHEN 'adjustment' THEN CASE WHEN e.amount_microcredits > 0 THEN '{UP}' ELSE '{DOWN}' END
    WHEN 'chargeback' THEN CASE e.reason
        WHEN 'payment refunded' THEN '{REFUNDED}' WHEN 'refund failed' THEN '{REFUND_FAILED}'
        WHEN 'payment disputed' THEN '{DISPUTED}' WHEN 'dispute won' THEN '{DISPUTE_WON}' ELSE '{DEBT}' END
    ELSE '' END"""

MARK = "SELECT COALESCE(MAX(last_entry), 0) FROM billing_ledgerdaysmark WHERE time_zone = %(zone)s::text"

# Sums of entries, in the order of LedgerDay's columns. `priced` is what the tokens of the holds cost at their prices: a
# second way to what usage entries say.
SUMS = f"""
SELECT (e.created_at AT TIME ZONE %(zone)s::text)::date AS day, e.kind, {ORIGIN} AS origin,
    COALESCE(h.model_key, '') AS model_key, COALESCE(h.is_from_cache, false) AS is_from_cache,
    COUNT(*) AS entries_count, SUM(e.amount_microcredits)::bigint AS amount_microcredits,
    COALESCE(SUM(h.prompt_tokens) FILTER (WHERE e.kind = 'usage'), 0)::bigint AS prompt_tokens,
    COALESCE(SUM(h.completion_tokens) FILTER (WHERE e.kind = 'usage'), 0)::bigint AS completion_tokens,
    COALESCE(SUM(h.prompt_tokens * h.prompt_microcredits_per_token
        + h.completion_tokens * h.completion_microcredits_per_token) FILTER (WHERE e.kind = 'usage'), 0)::bigint
        AS priced_microcredits
FROM billing_ledgerentry e LEFT JOIN billing_hold h ON h.id = e.hold_id
WHERE e.id > %(after)s::bigint AND e.id <= %(last)s::bigint
GROUP BY 1, 2, 3, 4, 5"""  # noqa: S608  constants of this module

COLUMNS = (
    "day, kind, origin, model_key, is_from_cache,"
    " entries_count, amount_microcredits, prompt_tokens, completion_tokens, priced_microcredits"
)
ADD = f"""
INSERT INTO billing_ledgerday AS d ({COLUMNS}) {SUMS}
ON CONFLICT (day, kind, origin, model_key, is_from_cache) DO UPDATE SET
    entries_count = d.entries_count + EXCLUDED.entries_count,
    amount_microcredits = d.amount_microcredits + EXCLUDED.amount_microcredits,
    prompt_tokens = d.prompt_tokens + EXCLUDED.prompt_tokens,
    completion_tokens = d.completion_tokens + EXCLUDED.completion_tokens,
    priced_microcredits = d.priced_microcredits + EXCLUDED.priced_microcredits"""

# One statement, so one moment: the days, the entries since, and the balances of all wallets. Days before the period
# become the day before it, and days after it the day after. The last row has the wallets, and the mark of this moment.
READ = f"""
WITH together AS (SELECT {COLUMNS} FROM billing_ledgerday WHERE %(is_summed)s::boolean UNION ALL {SUMS})
SELECT CASE WHEN day < %(first)s::date THEN %(before)s::date WHEN day > %(until)s::date THEN %(later)s::date
        ELSE day END AS day,
    kind, origin, model_key, is_from_cache, SUM(entries_count)::bigint, SUM(amount_microcredits)::bigint,
    SUM(prompt_tokens)::bigint, SUM(completion_tokens)::bigint, SUM(priced_microcredits)::bigint
FROM together GROUP BY 1, 2, 3, 4, 5
UNION ALL
SELECT NULL, '', '', '', false, 0, COALESCE(SUM(balance_microcredits), 0)::bigint,
    ({MARK}), 0, 0 FROM billing_wallet
ORDER BY 1, 2, 3, 4, 5"""  # noqa: S608  constants of this module
LAST_BIGINT = 2**63 - 1
MOST_TRIES = 5


class SummedMeanwhile(Exception):
    """The days could not be read, because entries were summed each time."""


@dataclass(frozen=True, slots=True)
class DayOfLedger:
    """The entries of one day, kind, origin and model: how many, and their sums."""

    day: date
    kind: str
    origin: str
    model_key: str
    is_from_cache: bool
    entries: int
    amount_microcredits: int
    prompt_tokens: int
    completion_tokens: int
    priced_microcredits: int


@dataclass(frozen=True, slots=True)
class LedgerOfPeriod:
    """The days of a period, and the sums that stand around it, all of one moment.

    `opening` and `closing` are the sums of all entries before the period and up to its end: what customers owned then.
    `later` is the sum of the entries after it, and `wallets` that of all balances now.
    """

    days: list[DayOfLedger]
    opening_microcredits: int
    later_microcredits: int
    wallets_microcredits: int

    @property
    def moved_microcredits(self) -> int:
        """The sum of the entries of the period."""
        return sum(day.amount_microcredits for day in self.days)

    @property
    def entries(self) -> int:
        """How many entries the period has."""
        return sum(day.entries for day in self.days)

    @property
    def closing_microcredits(self) -> int:
        """What customers owned at the end of the period, by the entries up to then."""
        return self.opening_microcredits + self.moved_microcredits

    @property
    def difference_microcredits(self) -> int:
        """What the entries say of the end, less what the balances say less what has moved since. Zero, or a fault."""
        return self.closing_microcredits - (self.wallets_microcredits - self.later_microcredits)


def read_ledger(first: date, last: date) -> LedgerOfPeriod:
    """Return the ledger of these days of the reports' time zone, both included.

    Two queries: where the sums end, and all of it. They are repeated if entries were summed in between. Raises
    SummedMeanwhile if that happens again and again.
    """
    for _try in range(MOST_TRIES):
        [[mark]] = sql.fetch_all(MARK, {"zone": settings.REPORTING_TIME_ZONE})
        rows = sql.fetch_all(READ, _values(first, last, mark))
        *days, wallets = rows
        if wallets[7] == mark:
            return _divide([DayOfLedger(*row) for row in days], first, last, wallets[6])
    raise SummedMeanwhile(f"the days were summed {MOST_TRIES} times while they were read")


@transaction.atomic
def sum_new_days() -> bool:
    """Add the entries since the last time to their days, MOST_ENTRIES at most; return whether there were any.

    Entries that are still being written are left to the next time. After a change of the time zone it begins again.
    """
    mark = _lock_mark()
    if mark.time_zone != settings.REPORTING_TIME_ZONE:
        _forget(mark)
    new = LedgerEntry.objects.filter(pk__gt=mark.last_entry, pk__lte=last_settled_entry(timezone.now()))
    last_entry = new.order_by("pk")[:MOST_ENTRIES].aggregate(last=Max("pk"))["last"]
    if last_entry is None:
        return False
    with connection.cursor() as cursor:
        cursor.execute(ADD, {"zone": mark.time_zone, "after": mark.last_entry, "last": last_entry})
    mark.last_entry = last_entry
    mark.save()
    return True


@transaction.atomic
def forget_days() -> None:
    """Delete all sums, so that summing begins with the first entry. For when `verify_ledger` names a day."""
    _forget(_lock_mark())


def _values(first: date, last: date, mark: int) -> dict[str, Any]:
    one_day = timedelta(days=1)
    return {
        "zone": settings.REPORTING_TIME_ZONE,
        "is_summed": mark > 0,
        "after": mark,
        "last": LAST_BIGINT,
        "first": first,
        "until": last,
        "before": first - one_day,
        "later": last + one_day,
    }


def _divide(days: list[DayOfLedger], first: date, last: date, wallets_microcredits: int) -> LedgerOfPeriod:
    return LedgerOfPeriod(
        days=[day for day in days if first <= day.day <= last],
        opening_microcredits=sum(day.amount_microcredits for day in days if day.day < first),
        later_microcredits=sum(day.amount_microcredits for day in days if day.day > last),
        wallets_microcredits=wallets_microcredits,
    )


def usage_of(ledger: LedgerOfPeriod) -> list[DayOfLedger]:
    """The days of answers that were charged."""
    return [day for day in ledger.days if day.kind == EntryKind.USAGE]


def _lock_mark() -> LedgerDaysMark:
    zone = settings.REPORTING_TIME_ZONE
    return LedgerDaysMark.objects.select_for_update().get_or_create(pk=1, defaults={"time_zone": zone})[0]


def _forget(mark: LedgerDaysMark) -> None:
    LedgerDay.objects.all().delete()
    mark.last_entry, mark.time_zone = 0, settings.REPORTING_TIME_ZONE
    mark.save()
