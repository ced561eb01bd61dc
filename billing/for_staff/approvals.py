"""Refunds and adjustments that a second person decides on, as one list: what was asked, by whom, and until when."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.db.models import F, Q, QuerySet
from django.utils import timezone

from accounts.models import User
from billing import approvals
from billing.models import Adjustment, Refund, RefundState, TopUp
from billing.refunds import payouts, requests
from billing.templatetags.money import money

REFUND, ADJUSTMENT = "refund", "adjustment"
DECIDES = {REFUND: requests.PERMISSION, ADJUSTMENT: "billing.adjust_wallet"}
SEES = {REFUND: "billing.view_refund", ADJUSTMENT: "billing.view_adjustment"}
MOST_WAITING = 50
MOST_DECIDED = 30

REFUNDS = Refund.objects.select_related("hold__wallet__user", "topup__user", "requested_by", "decided_by")
ADJUSTMENTS = Adjustment.objects.select_related("wallet__user", "requested_by", "decided_by")


@dataclass(frozen=True, slots=True)
class Approval:
    """One request. `microcredits` is what the customer's balance gains, negative for a loss."""

    kind: str
    row: Refund | Adjustment
    customer: User
    microcredits: int

    @property
    def topup(self) -> TopUp | None:
        """The payment that it refunds, if it does."""
        return self.row.topup if isinstance(self.row, Refund) else None

    @property
    def is_of_a_payment(self) -> bool:
        return self.topup is not None

    @property
    def money(self) -> str:
        """The money that goes back, as text; empty if only credits move."""
        return "" if self.topup is None else money(self.row.amount, self.topup.currency)  # type: ignore[union-attr]

    @property
    def is_waiting(self) -> bool:
        """Whether somebody may still decide on it."""
        return self.row.state == RefundState.WAITING and not self.has_lapsed

    @property
    def has_lapsed(self) -> bool:
        """Whether nobody decided in time; the row says so at the next run of the task."""
        is_late = self.row.state == RefundState.WAITING and approvals.has_lapsed(self.row.requested_at)
        return is_late or self.row.state == RefundState.LAPSED

    @property
    def lapses_at(self) -> datetime:
        """When nobody can approve it any more."""
        return self.row.requested_at + approvals.LAPSES_AFTER

    def is_own(self, staff: User) -> bool:
        """Whether this person asked for it, or is the customer, and so does not decide."""
        return staff.pk in (self.row.requested_by_id, self.customer.pk)

    def may_decide(self, staff: User) -> bool:
        """Whether this person may approve or reject it now."""
        return self.is_waiting and not self.is_own(staff) and staff.has_perm(DECIDES[self.kind])


def read_waiting(staff: User) -> list[Approval]:
    """What waits, as far as this person may see it, the oldest first. Two queries of few rows."""
    since = timezone.now() - approvals.LAPSES_AFTER
    waiting = {"state": RefundState.WAITING, "requested_at__gt": since}
    return sorted(_read(staff, Q(**waiting), "requested_at", MOST_WAITING), key=lambda one: one.row.requested_at)


def read_decided(staff: User, *, days: int = 7) -> list[Approval]:
    """What two people decided, or nobody, within the last days, the newest first. Two queries."""
    since = timezone.now() - timedelta(days=days)
    by_two = ~Q(state=RefundState.WAITING) & Q(decided_at__gte=since) & ~Q(decided_by=F("requested_by"))
    lapsed = Q(state=RefundState.LAPSED, decided_at__gte=since)
    late = Q(state=RefundState.WAITING, requested_at__lte=timezone.now() - approvals.LAPSES_AFTER)
    found = _read(staff, by_two | lapsed | late, "-decided_at", MOST_DECIDED)
    return sorted(found, key=lambda one: one.row.decided_at or one.lapses_at, reverse=True)


def find_approval(staff: User, kind: str, row_id: UUID) -> Approval | None:
    """One request, if this person may see it."""
    if not staff.has_perm(SEES[kind]):
        return None
    rows: QuerySet[Refund] | QuerySet[Adjustment] = REFUNDS if kind == REFUND else ADJUSTMENTS
    row = rows.filter(pk=row_id).first()
    return None if row is None else _approval(row)


def _read(staff: User, which: Q, order: str, most: int) -> list[Approval]:
    found: list[Refund | Adjustment] = []
    if staff.has_perm(SEES[REFUND]):
        found += REFUNDS.filter(which).order_by(order)[:most]
    if staff.has_perm(SEES[ADJUSTMENT]):
        found += ADJUSTMENTS.filter(which).order_by(order)[:most]
    return [_approval(row) for row in found]


def _approval(row: Refund | Adjustment) -> Approval:
    if isinstance(row, Adjustment):
        return Approval(ADJUSTMENT, row, row.wallet.user, row.amount_microcredits)
    if row.topup is not None:
        return Approval(REFUND, row, row.topup.user, -requests.credits_taken_back(row.topup, row.amount))
    return Approval(REFUND, row, payouts.customer_of(row), row.amount)
