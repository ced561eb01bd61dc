"""Writing one ledger entry, with the uses of grants and the payments of debts that belong to it.

Only `billing.ledger` uses this module. The caller's transaction must have locked the wallet.
"""

import hashlib
import json
from datetime import datetime

from django.db.models import Case, Max, Q, QuerySet, Sum, When

from accounts.models import User
from billing.ledger.thresholds import arm
from billing.models import DebtPayment, EntryKind, Grant, GrantUse, Hold, LedgerEntry, TopUp, Wallet
from core.repeats import asked_the_same

Part = tuple[int, int]  # the id of a grant, and microcredits of it


class LedgerError(Exception):
    """A movement that the ledger refuses. Nothing was changed."""


class InsufficientCredits(LedgerError):
    """The wallet cannot pay for the prompt and a useful answer.

    `available_microcredits` is what is free now, `needed_microcredits` the least that would be enough.
    """

    def __init__(self, *, available_microcredits: int, needed_microcredits: int) -> None:
        super().__init__(f"{needed_microcredits} microcredits needed, {available_microcredits} available")
        self.available_microcredits = available_microcredits
        self.needed_microcredits = needed_microcredits


class IdempotencyConflict(LedgerError):
    """The key was used before, with other inputs."""


def move(
    wallet: Wallet,
    *,
    kind: EntryKind,
    amount_microcredits: int,
    idempotency_key: str,
    reason: str,
    by: User | None = None,
    hold: Hold | None = None,
    topup: TopUp | None = None,
    expires_at: datetime | None = None,
    from_grant: Grant | None = None,
) -> LedgerEntry:
    """Write one entry with its grant or its uses of grants, and return the entry. The wallet is locked.

    A repeated key returns the entry that it wrote before. Raises IdempotencyConflict when the key was used with other
    inputs, and InsufficientCredits for taking more than is free.
    """
    repeat = find_repeat(wallet, kind, amount_microcredits, idempotency_key, hold)
    if repeat is not None:
        return repeat
    available = wallet.available_microcredits
    if hold is None and -amount_microcredits > available:
        raise InsufficientCredits(available_microcredits=available, needed_microcredits=-amount_microcredits)
    wallet.balance_microcredits += amount_microcredits  # the database updates the row; this updates our copy
    entry = LedgerEntry.objects.create(
        wallet=wallet,
        kind=kind,
        amount_microcredits=amount_microcredits,
        balance_after_microcredits=wallet.balance_microcredits,
        idempotency_key=idempotency_key,
        inputs_hash=_hash_inputs(wallet.pk, kind, amount_microcredits, hold.pk if hold else None),
        hold=hold,
        reason=reason,
        created_by=by,
    )
    if amount_microcredits > 0 and kind != EntryKind.REFUND:
        Grant.objects.create(
            wallet=wallet,
            entry=entry,
            amount_microcredits=amount_microcredits,
            remaining_microcredits=amount_microcredits,
            expires_at=expires_at,
        )
    else:
        _use_grants(entry, _parts_of(entry, from_grant, topup))
    if amount_microcredits > 0:
        pay_debts(wallet)
        arm(wallet)
    return entry


def _parts_of(entry: LedgerEntry, from_grant: Grant | None, topup: TopUp | None) -> list[Part]:
    """Return the grants that an entry may use, in order, each with the most that it may pay or get back."""
    if entry.kind == EntryKind.REFUND:
        return _charged_parts(entry)
    if from_grant is not None:
        return [(from_grant.pk, from_grant.remaining_microcredits)]
    in_order = entry.wallet.grants.unspent().in_spending_order()
    if topup is not None:  # a claw-back takes the payment's own credits before any others
        is_own = Case(When(entry__in=_topup_entries(topup), then=0), default=1)
        in_order = in_order.order_by(is_own, *in_order.query.order_by)
    return list(in_order.values_list("pk", "remaining_microcredits"))


def _use_grants(entry: LedgerEntry, parts: list[Part]) -> None:
    """Divide the entry among these grants in order, each up to its part. Raises LedgerError if they are too small."""
    sign = 1 if entry.amount_microcredits > 0 else -1
    left, uses = abs(entry.amount_microcredits), []
    for grant_id, most in parts:
        if left == 0:
            break
        part = min(left, most)
        uses.append(GrantUse(grant_id=grant_id, entry=entry, amount_microcredits=sign * part))
        left -= part
    if left:
        raise LedgerError(f"the grants of wallet {entry.wallet_id} do not cover entry {entry.pk}: {left} are missing")
    GrantUse.objects.bulk_create(uses)


def _charged_parts(refund_entry: LedgerEntry) -> list[Part]:
    """Return what each grant paid for the refunded charge and has not got back yet; the grant used last comes first."""
    uses = GrantUse.objects.filter(entry__hold=refund_entry.hold_id)
    paid = uses.values("grant").annotate(
        paid=-Sum("amount_microcredits"), last=Max("pk", filter=Q(amount_microcredits__lt=0))
    )
    return list(paid.filter(paid__gt=0).order_by("-last").values_list("grant", "paid"))


def expire_due_grants(wallet: Wallet) -> None:
    """Expire what is left of the wallet's overdue grants, except what is held. The wallet is locked."""
    for grant in wallet.grants.due().in_spending_order():
        amount = min(grant.remaining_microcredits, wallet.available_microcredits)
        if amount > 0:
            last_use = grant.uses.aggregate(last=Max("pk"))["last"] or 0
            move(
                wallet,
                kind=EntryKind.EXPIRY,
                amount_microcredits=-amount,
                idempotency_key=f"expiry:{grant.pk}:{last_use}",
                reason=f"grant {grant.pk} expired",
                from_grant=grant,
            )


def find_repeat(
    wallet: Wallet, kind: EntryKind, amount_microcredits: int, idempotency_key: str, hold: Hold | None
) -> LedgerEntry | None:
    """Return the entry that this key wrote before, or None. Raises IdempotencyConflict when it had other inputs."""
    earlier = LedgerEntry.objects.filter(idempotency_key=idempotency_key).first()
    inputs_hash = _hash_inputs(wallet.pk, kind, amount_microcredits, hold.pk if hold else None)
    if earlier is not None and not asked_the_same(earlier, inputs_hash=inputs_hash):
        raise IdempotencyConflict(f"{idempotency_key} was used with other inputs")
    return earlier


def _topup_entries(topup: TopUp) -> QuerySet[LedgerEntry]:
    """The entries that credited an order: its credits and its bonus."""
    return LedgerEntry.objects.filter(idempotency_key__in=[f"topup:{topup.pk}", f"topup-bonus:{topup.pk}"])


def pay_debts(wallet: Wallet) -> None:
    """Pay open debts from the free credits, before anything else can be bought with them. The wallet is locked."""
    for debt in wallet.debts.filter(remaining_microcredits__gt=0).select_related("topup").order_by("pk"):
        part = min(debt.remaining_microcredits, wallet.available_microcredits)
        if part:
            key = f"debt:{debt.pk}:{debt.remaining_microcredits}"
            entry = move(
                wallet,
                kind=EntryKind.CHARGEBACK,
                amount_microcredits=-part,
                idempotency_key=key,
                reason=f"debt {debt.pk}",
            )
            DebtPayment.objects.create(debt=debt, entry=entry, amount_microcredits=part, idempotency_key=key)


def demand_positive(amount_microcredits: int) -> None:
    """Raise ValueError unless the amount is a positive integer. `True` does not count as an integer."""
    if type(amount_microcredits) is not int or amount_microcredits <= 0:
        raise ValueError(f"the amount is a positive integer, not {amount_microcredits!r}")


def _hash_inputs(*inputs: object) -> str:
    """Return the SHA-256 of a movement's inputs. It tells a retry from a different request under the same key."""
    return hashlib.sha256(json.dumps([str(value) for value in inputs]).encode()).hexdigest()
