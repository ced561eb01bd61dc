"""What came in and went out in a period: the ways of credits, the packages that were sold, and the money for them."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import Count, Sum

from billing.models import EntryKind, Refund, RefundState
from billing.reporting import ledger_days
from billing.reporting.ledger_days import DayOfLedger, LedgerOfPeriod
from core import sql

PAID_BEFORE_ITS_ENTRY = timedelta(hours=1)  # much longer than the transaction that does both takes


@dataclass(frozen=True, slots=True)
class Way:
    """One way in which credits come into wallets or leave them. Every entry belongs to exactly one."""

    key: str
    kind: EntryKind
    origins: tuple[str, ...] = ("",)

    def has(self, day: DayOfLedger) -> bool:
        """Whether these entries went this way."""
        return day.kind == self.kind and day.origin in self.origins


WAYS = (
    Way("sold", EntryKind.TOP_UP),
    Way("package_bonus", EntryKind.BONUS, (ledger_days.PACKAGE,)),
    Way("signup_bonus", EntryKind.BONUS),
    Way("promotion", EntryKind.PROMOTION),
    Way("spent", EntryKind.USAGE),
    Way("answers_refunded", EntryKind.REFUND),
    Way("adjusted_up", EntryKind.ADJUSTMENT, (ledger_days.UP,)),
    Way("adjusted_down", EntryKind.ADJUSTMENT, (ledger_days.DOWN,)),
    Way("payments_refunded", EntryKind.CHARGEBACK, (ledger_days.REFUNDED,)),
    Way("refunds_failed", EntryKind.CHARGEBACK, (ledger_days.REFUND_FAILED,)),
    Way("disputed", EntryKind.CHARGEBACK, (ledger_days.DISPUTED,)),
    Way("disputes_won", EntryKind.CHARGEBACK, (ledger_days.DISPUTE_WON,)),
    Way("debts_paid", EntryKind.CHARGEBACK, (ledger_days.DEBT,)),
    Way("expired", EntryKind.EXPIRY),
)

# A payment belongs to the day of the entry that credited it, which is written just after it was noted as paid. So near
# both ends of the period the entries are read, and in between it is certain.
PACKAGES = """
WITH sold AS (
    SELECT t.* FROM billing_topup t WHERE t.paid_at >= %(surely_after)s AND t.paid_at < %(surely_before)s
    UNION ALL
    SELECT t.* FROM billing_topup t JOIN billing_ledgerentry e ON e.idempotency_key = 'topup:' || t.id
    WHERE (t.paid_at >= %(maybe_after)s AND t.paid_at < %(surely_after)s
            OR t.paid_at >= %(surely_before)s AND t.paid_at < %(maybe_before)s)
        AND e.created_at >= %(begin)s AND e.created_at < %(end)s)
SELECT COALESCE(p.name, ''), t.currency, COUNT(*), SUM(t.amount_minor)::bigint, SUM(t.credits_microcredits)::bigint,
    SUM(t.bonus_microcredits)::bigint
FROM sold t LEFT JOIN billing_package p ON p.id = t.package_id
GROUP BY p.id, p.name, p.position, t.currency ORDER BY p.position NULLS LAST, p.id, t.currency"""


@dataclass(frozen=True, slots=True)
class Moved:
    """The entries of one way: how many, and their sum."""

    entries: int
    amount_microcredits: int


@dataclass(frozen=True, slots=True)
class PackageSold:
    """The payments for one package in one currency. `name` is empty for other amounts."""

    name: str
    currency: str
    payments: int
    amount_minor: int
    credits_microcredits: int
    bonus_microcredits: int


@dataclass(frozen=True, slots=True)
class PaidBack:
    """The refunds of payments that staff made, in one currency."""

    currency: str
    refunds: int
    amount_minor: int


def sum_ways(ledger: LedgerOfPeriod) -> dict[str, Moved]:
    """Return what went each way, in the order of WAYS."""
    return {way.key: _sum(ledger, way.has) for way in WAYS}


def read_packages(begin: datetime, end: datetime) -> list[PackageSold]:
    """Return what was sold from one moment to before another, by package. One query."""
    return [PackageSold(*row) for row in sql.fetch_all(PACKAGES, bounds_of_packages(begin, end))]


def bounds_of_packages(begin: datetime, end: datetime) -> dict[str, datetime]:
    """The moments that PACKAGES compares with. A period is longer than twice PAID_BEFORE_ITS_ENTRY."""
    return {
        "begin": begin,
        "end": end,
        "maybe_after": begin - PAID_BEFORE_ITS_ENTRY,
        "surely_after": begin + PAID_BEFORE_ITS_ENTRY,
        "surely_before": end - PAID_BEFORE_ITS_ENTRY,
        "maybe_before": end + PAID_BEFORE_ITS_ENTRY,
    }


def read_paid_back(begin: datetime, end: datetime) -> list[PaidBack]:
    """Return the payments that staff paid back and that stayed so, by the time of the decision. One query."""
    done = Refund.objects.filter(
        topup__isnull=False, state=RefundState.DONE, decided_at__gte=begin, decided_at__lt=end
    ).order_by("topup__currency")
    by_currency = done.values("topup__currency").annotate(refunds=Count("pk"), total=Sum("amount"))
    return [PaidBack(row["topup__currency"], row["refunds"], row["total"]) for row in by_currency]


def owed_minor(microcredits: int) -> int:
    """What these credits cost when they are bought without a package, in smallest units, rounded up."""
    microcredits_per_unit: int = settings.CREDITS_PER_MINOR_UNIT * 1_000_000
    return -(-microcredits // microcredits_per_unit)


def _sum(ledger: LedgerOfPeriod, is_meant: Callable[[DayOfLedger], bool]) -> Moved:
    found = [day for day in ledger.days if is_meant(day)]
    return Moved(sum(day.entries for day in found), sum(day.amount_microcredits for day in found))
