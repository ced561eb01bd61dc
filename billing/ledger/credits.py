"""Movements of credits that do not belong to an answer: grant, adjust, claw back, give back, expire."""

from datetime import datetime

from django.db import transaction

from accounts.models import User
from billing.ledger.entries import demand_positive, expire_due_grants, move
from billing.ledger.wallets import lock_wallet
from billing.models import GRANT_KINDS, Debt, DebtPayment, EntryKind, Grant, LedgerEntry, TopUp, Wallet


@transaction.atomic
def grant(
    *,
    user: User,
    kind: EntryKind,
    amount_microcredits: int,
    idempotency_key: str,
    reason: str,
    expires_at: datetime | None = None,
    by: User | None = None,
) -> LedgerEntry:
    """Add credits to a wallet, once for each key, and return the entry. They expire at `expires_at`; None means never.

    Raises ValueError for an amount that is not a positive integer or a kind that does not add credits, and
    IdempotencyConflict when the key was used with other inputs.
    """
    if kind not in GRANT_KINDS:
        raise ValueError(f"{kind} does not add credits")
    demand_positive(amount_microcredits)
    return move(
        lock_wallet(user=user),
        kind=kind,
        amount_microcredits=amount_microcredits,
        idempotency_key=idempotency_key,
        reason=reason,
        by=by,
        expires_at=expires_at,
    )


@transaction.atomic
def claw_back(*, topup: TopUp, amount_microcredits: int, idempotency_key: str, reason: str) -> LedgerEntry | None:
    """Take credits of a payment back, once for each key.

    What is free in the wallet is taken now. The rest becomes a debt, which blocks the wallet until it is paid. The
    amount is never reduced to what happens to be free. Returns the entry, or None when nothing was free. Raises
    ValueError for an amount that is not a positive integer.
    """
    demand_positive(amount_microcredits)
    wallet = lock_wallet(user=topup.user)
    earlier = LedgerEntry.objects.filter(idempotency_key=idempotency_key).first()
    if earlier is not None or Debt.objects.filter(idempotency_key=idempotency_key).exists():
        return earlier
    taken = min(amount_microcredits, wallet.available_microcredits)
    entry = None
    if taken:
        entry = move(
            wallet,
            kind=EntryKind.CHARGEBACK,
            amount_microcredits=-taken,
            idempotency_key=idempotency_key,
            reason=reason,
            topup=topup,
        )
    owed = amount_microcredits - taken
    if owed:
        Debt.objects.create(
            wallet=wallet,
            topup=topup,
            amount_microcredits=owed,
            remaining_microcredits=owed,
            idempotency_key=idempotency_key,
        )
    return entry


@transaction.atomic
def give_back(*, topup: TopUp, amount_microcredits: int, idempotency_key: str, reason: str) -> LedgerEntry | None:
    """Undo a claw-back after a won dispute, once for each key.

    The amount first cancels what is still owed for the payment; the rest is added as credits. Returns the entry, or
    None when all of it was still owed. Raises ValueError for an amount that is not a positive integer.
    """
    demand_positive(amount_microcredits)
    wallet = lock_wallet(user=topup.user)
    earlier = LedgerEntry.objects.filter(idempotency_key=idempotency_key).first()
    if earlier is not None or DebtPayment.objects.filter(idempotency_key=idempotency_key).exists():
        return earlier
    left = amount_microcredits
    for debt in topup.debts.filter(remaining_microcredits__gt=0).order_by("pk"):
        part = min(left, debt.remaining_microcredits)
        if part:
            DebtPayment.objects.create(debt=debt, amount_microcredits=part, idempotency_key=idempotency_key)
            left -= part
    if not left:
        return None
    return move(
        wallet,
        kind=EntryKind.CHARGEBACK,
        amount_microcredits=left,
        idempotency_key=idempotency_key,
        reason=reason,
        topup=topup,
    )


@transaction.atomic
def adjust(
    *,
    user: User,
    amount_microcredits: int,
    idempotency_key: str,
    reason: str,
    by: User,
    expires_at: datetime | None = None,
) -> LedgerEntry:
    """Correct a wallet by hand, up or down, once for each key. `by` is the person who is responsible.

    Credits that are given expire at `expires_at`; None means never.

    Raises ValueError without a reason or for an amount that is not a non-zero integer, InsufficientCredits for taking
    more than is free, and IdempotencyConflict when the key was used with other inputs.
    """
    if not reason.strip():
        raise ValueError("an adjustment needs a reason")
    if type(amount_microcredits) is not int or amount_microcredits == 0:
        raise ValueError(f"an adjustment is an integer that is not zero, not {amount_microcredits!r}")
    return move(
        lock_wallet(user=user),
        kind=EntryKind.ADJUSTMENT,
        amount_microcredits=amount_microcredits,
        idempotency_key=idempotency_key,
        reason=reason,
        by=by,
        expires_at=expires_at,
    )


def expire_grants() -> int:
    """Expire what is left of overdue grants, one ledger entry for each grant; return how many wallets had some.

    What is held for running answers is not taken before they end; the next run takes it.
    """
    due = Grant.objects.due().order_by("wallet_id").values_list("wallet_id", flat=True).distinct()
    wallet_ids = list(due)
    for wallet_id in wallet_ids:
        with transaction.atomic():
            expire_due_grants(Wallet.objects.select_for_update().get(pk=wallet_id))
    return len(wallet_ids)
