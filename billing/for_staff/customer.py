"""What staff read of one customer's money: a few of the latest rows of each kind, and what waits or failed."""

from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

from django.db.models import Count, Q, Sum

from accounts.models import User
from billing import ledger
from billing.models import EntryKind, LedgerEntry, Refund, RefundState, TopUp, TopUpState, Wallet
from billing.templatetags.money import money

MOST_ENTRIES = 8
MOST_PAYMENTS = 6

OPEN_REFUNDS = (RefundState.WAITING, RefundState.APPROVED, RefundState.FAILED)


@dataclass(frozen=True, slots=True)
class Payment:
    """An order with its refunds that are not done: those that wait, are being sent or failed."""

    topup: TopUp
    refunds: list[Refund]

    @property
    def is_refundable(self) -> bool:
        """Whether some of the money may still go back."""
        returned = self.topup.refunded_minor + self.topup.disputed_minor
        return self.topup.state == TopUpState.PAID and returned < self.topup.amount_minor


@dataclass(frozen=True, slots=True)
class Money:
    """A customer's wallet and the latest of what happened to it. `bought` is what was paid, by currency, as text."""

    wallet: Wallet
    owed_microcredits: int
    bought: list[str]
    payments_count: int
    disputed_count: int
    entries: list[LedgerEntry]
    payments: list[Payment]


@dataclass(frozen=True, slots=True)
class AnswerRefunds:
    """What was given back of an answer's charge, and the refund of it that waits, if one does."""

    given_back_microcredits: int = 0
    waiting: Refund | None = None


def read_money(user: User) -> Money:
    """Read all of it. Six queries, each by an index and limited."""
    wallet = user.wallet
    paid = TopUp.objects.filter(user=user, state=TopUpState.PAID).values("currency")
    sums = list(
        paid.annotate(
            total=Sum("amount_minor"), count=Count("pk"), disputed=Count("pk", filter=Q(disputed_minor__gt=0))
        ).order_by("currency")
    )
    entries = LedgerEntry.objects.filter(wallet=wallet).select_related("hold", "created_by").order_by("-pk")
    return Money(
        wallet=wallet,
        owed_microcredits=ledger.owed_microcredits(wallet=wallet),
        bought=[money(one["total"], one["currency"]) for one in sums],
        payments_count=sum(one["count"] for one in sums),
        disputed_count=sum(one["disputed"] for one in sums),
        entries=list(entries[:MOST_ENTRIES]),
        payments=_read_payments(user),
    )


def read_refunds_of_answers(hold_ids: Iterable[UUID]) -> dict[UUID, AnswerRefunds]:
    """What was given back of these charges, and which refunds wait, by the hold. Two queries."""
    holds = list(hold_ids)
    entries = LedgerEntry.objects.filter(hold__in=holds, kind=EntryKind.REFUND).values("hold_id")
    given = {one["hold_id"]: one["total"] for one in entries.annotate(total=Sum("amount_microcredits"))}
    waiting = {one.hold_id: one for one in Refund.objects.filter(hold__in=holds, state=RefundState.WAITING)}
    return {hold: AnswerRefunds(given.get(hold, 0), waiting.get(hold)) for hold in holds}


def _read_payments(user: User) -> list[Payment]:
    topups = list(TopUp.objects.for_user(user)[:MOST_PAYMENTS])
    refunds: dict[UUID, list[Refund]] = {topup.pk: [] for topup in topups}
    for refund in Refund.objects.filter(topup__in=topups, state__in=OPEN_REFUNDS).order_by("requested_at"):
        refunds[refund.topup_id].append(refund)  # type: ignore[index]  # it is of a top-up
    return [Payment(topup, refunds[topup.pk]) for topup in topups]
