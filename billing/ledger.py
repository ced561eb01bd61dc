"""The only writer of credits: open a wallet, grant, adjust, hold, settle, release, refund, expire.

Each function is one transaction that first locks the one wallet row. If the process dies anywhere inside,
PostgreSQL rolls all of it back; if it dies after the commit, a retry finds what was written and returns it.
"""

import hashlib
import json
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import Max, Q, Sum
from django.utils import timezone

from accounts.models import User
from billing.models import (
    GRANT_KINDS,
    EntryKind,
    Grant,
    GrantUse,
    Hold,
    HoldState,
    LedgerEntry,
    Price,
    Wallet,
)


class LedgerError(Exception):
    """A movement that the ledger refuses. Nothing was changed."""


class InsufficientCredits(LedgerError):
    """The wallet cannot pay for the prompt and a useful answer.

    `available_microcredits` is what is free now, `needed_microcredits` the least that would do.
    """

    def __init__(self, *, available_microcredits: int, needed_microcredits: int) -> None:
        super().__init__(f"{needed_microcredits} microcredits needed, {available_microcredits} available")
        self.available_microcredits = available_microcredits
        self.needed_microcredits = needed_microcredits


class IdempotencyConflict(LedgerError):
    """The key was used before, with other inputs."""


class HoldClosed(LedgerError):
    """The hold was already settled with another charge, released or expired."""


class RefundTooLarge(LedgerError):
    """All refunds of a charge together may not exceed it; `refundable_microcredits` is what is left."""

    def __init__(self, *, refundable_microcredits: int) -> None:
        super().__init__(f"at most {refundable_microcredits} microcredits of this charge can be refunded")
        self.refundable_microcredits = refundable_microcredits


class NoPrice(LedgerError):
    """Nobody has set a price for this model, so it cannot be sold."""


def open_wallet(*, user: User) -> Wallet:
    """Return the user's wallet, made empty if there was none."""
    return Wallet.objects.get_or_create(user=user)[0]


def lock_wallet(*, user: User) -> Wallet:
    """Lock the user's wallet until the transaction ends: whatever this user pays for waits its turn."""
    return Wallet.objects.select_for_update().get(user=user)


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
    """Add credits to a wallet, once for each key; they expire at `expires_at`, or never.

    Raises ValueError for an amount that is not a positive integer or a kind that does not add credits, and
    IdempotencyConflict when the key was used with other inputs.
    """
    if kind not in GRANT_KINDS:
        raise ValueError(f"{kind} does not add credits")
    _demand_positive(amount_microcredits)
    return _move(
        lock_wallet(user=user),
        kind=kind,
        amount_microcredits=amount_microcredits,
        idempotency_key=idempotency_key,
        reason=reason,
        by=by,
        expires_at=expires_at,
    )


@transaction.atomic
def adjust(*, user: User, amount_microcredits: int, idempotency_key: str, reason: str, by: User) -> LedgerEntry:
    """Correct a wallet by hand, up or down, once for each key. Somebody answers for it, and says why.

    Raises ValueError without a reason or for an amount that is not a non-zero integer, InsufficientCredits for
    taking more than is free, and IdempotencyConflict.
    """
    if not reason.strip():
        raise ValueError("an adjustment needs a reason")
    if type(amount_microcredits) is not int or amount_microcredits == 0:
        raise ValueError(f"an adjustment is an integer that is not zero, not {amount_microcredits!r}")
    return _move(
        lock_wallet(user=user),
        kind=EntryKind.ADJUSTMENT,
        amount_microcredits=amount_microcredits,
        idempotency_key=idempotency_key,
        reason=reason,
        by=by,
    )


@transaction.atomic
def hold(
    *,
    user: User,
    model_key: str,
    prompt_tokens: int,
    max_completion_tokens: int,
    reference: str,
) -> Hold:
    """Set the worst case of an answer aside at the current prices, once for each reference.

    When the wallet affords the prompt but not all of `max_completion_tokens`, the hold covers the tokens it does
    afford: read `max_completion_tokens` of the result. Raises InsufficientCredits when that would be fewer than
    MIN_AFFORDABLE_TOKENS (or than asked for), NoPrice for an unpriced model, ValueError for counts below 1, and
    IdempotencyConflict for a reference that already has a hold.
    """
    if prompt_tokens < 1 or max_completion_tokens < 1:
        raise ValueError("a hold needs at least one token each way")
    price = Price.objects.current(model_key)
    if price is None:
        raise NoPrice(f"{model_key} has no price")
    wallet = lock_wallet(user=user)
    _expire_due_grants(wallet)
    if Hold.objects.filter(reference=reference).exists():
        raise IdempotencyConflict(f"{reference} already has a hold")
    prompt_cost = prompt_tokens * price.prompt_microcredits_per_token
    token_cost = price.completion_microcredits_per_token
    affordable_tokens = (wallet.available_microcredits - prompt_cost) // token_cost
    least_tokens = min(max_completion_tokens, settings.MIN_AFFORDABLE_TOKENS)
    if affordable_tokens < least_tokens:
        raise InsufficientCredits(
            available_microcredits=wallet.available_microcredits,
            needed_microcredits=prompt_cost + least_tokens * token_cost,
        )
    granted_tokens = min(max_completion_tokens, affordable_tokens)
    return Hold.objects.create(
        wallet=wallet,
        reference=reference,
        model_key=model_key,
        prompt_microcredits_per_token=price.prompt_microcredits_per_token,
        completion_microcredits_per_token=token_cost,
        prompt_tokens=prompt_tokens,
        max_completion_tokens=granted_tokens,
        amount_microcredits=prompt_cost + granted_tokens * token_cost,
        expires_at=timezone.now() + timedelta(seconds=settings.HOLD_LIFETIME_SECONDS),
    )


@transaction.atomic
def settle(*, hold_id: UUID, completion_tokens: int) -> Hold:
    """Charge prompt tokens x price + `completion_tokens` x price and free the rest of the hold.

    Settling again with the same count changes nothing. Raises ValueError for a count outside the hold and
    HoldClosed when the hold was closed in any other way.
    """
    open_hold = _lock_hold(hold_id)
    if not 0 <= completion_tokens <= open_hold.max_completion_tokens:
        raise ValueError(f"{completion_tokens} tokens, the hold covers {open_hold.max_completion_tokens}")
    if open_hold.state == HoldState.SETTLED and open_hold.completion_tokens == completion_tokens:
        return open_hold
    if open_hold.state != HoldState.ACTIVE:
        raise HoldClosed(f"hold {hold_id} is {open_hold.state}")
    charge = (
        open_hold.prompt_tokens * open_hold.prompt_microcredits_per_token
        + completion_tokens * open_hold.completion_microcredits_per_token
    )
    open_hold.state = HoldState.SETTLED
    open_hold.completion_tokens = completion_tokens
    open_hold.charged_microcredits = charge
    open_hold.closed_at = timezone.now()
    open_hold.save(update_fields=["state", "completion_tokens", "charged_microcredits", "closed_at"])
    _move(
        open_hold.wallet,
        kind=EntryKind.USAGE,
        amount_microcredits=-charge,
        idempotency_key=f"usage:{hold_id}",
        reason=open_hold.reference,
        hold=open_hold,
    )
    return open_hold


@transaction.atomic
def release(*, hold_id: UUID, expired: bool = False) -> Hold:
    """Free a hold without a charge. Doing it again changes nothing; raises HoldClosed if it was settled."""
    open_hold = _lock_hold(hold_id)
    if open_hold.state == HoldState.SETTLED:
        raise HoldClosed(f"hold {hold_id} is settled")
    if open_hold.state == HoldState.ACTIVE:
        open_hold.state = HoldState.EXPIRED if expired else HoldState.RELEASED
        open_hold.closed_at = timezone.now()
        open_hold.save(update_fields=["state", "closed_at"])
    return open_hold


@transaction.atomic
def refund(*, hold_id: UUID, amount_microcredits: int, idempotency_key: str, reason: str, by: User) -> LedgerEntry:
    """Give back a charge or a part of it, once for each key, to the grants that paid it.

    Raises ValueError without a reason or for an amount that is not a positive integer, RefundTooLarge when all
    refunds together would exceed the charge, HoldClosed when nothing was charged, and IdempotencyConflict.
    """
    if not reason.strip():
        raise ValueError("a refund needs a reason")
    _demand_positive(amount_microcredits)
    charged = _lock_hold(hold_id)
    repeat = _find_repeat(charged.wallet, EntryKind.REFUND, amount_microcredits, idempotency_key, charged)
    if repeat is not None:
        return repeat
    if charged.state != HoldState.SETTLED:
        raise HoldClosed(f"hold {hold_id} is {charged.state}: nothing was charged")
    earlier = charged.entries.filter(kind=EntryKind.REFUND).aggregate(total=Sum("amount_microcredits"))["total"] or 0
    refundable = (charged.charged_microcredits or 0) - earlier
    if amount_microcredits > refundable:
        raise RefundTooLarge(refundable_microcredits=refundable)
    return _move(
        charged.wallet,
        kind=EntryKind.REFUND,
        amount_microcredits=amount_microcredits,
        idempotency_key=idempotency_key,
        reason=reason,
        by=by,
        hold=charged,
    )


def expire_grants() -> int:
    """Take back what is left of grants whose time is over, a ledger entry each; return how many wallets had some.

    What running answers hold stays until they end: the next run takes it.
    """
    due = Grant.objects.due().order_by("wallet_id").values_list("wallet_id", flat=True).distinct()
    wallet_ids = list(due)
    for wallet_id in wallet_ids:
        with transaction.atomic():
            _expire_due_grants(Wallet.objects.select_for_update().get(pk=wallet_id))
    return len(wallet_ids)


def expire_holds() -> int:
    """Free the holds that outlived HOLD_LIFETIME_SECONDS, and return how many.

    The net under everything else: the sweeper of `inference` frees a hold long before it gets here.
    """
    overdue = Hold.objects.filter(state=HoldState.ACTIVE, expires_at__lt=timezone.now())
    hold_ids = list(overdue.order_by("wallet_id").values_list("pk", flat=True)[:1000])
    expired = 0
    for hold_id in hold_ids:
        try:
            expired += release(hold_id=hold_id, expired=True).state == HoldState.EXPIRED
        except HoldClosed:  # settled since the list was read
            continue
    return expired


def _move(
    wallet: Wallet,
    *,
    kind: EntryKind,
    amount_microcredits: int,
    idempotency_key: str,
    reason: str,
    by: User | None = None,
    hold: Hold | None = None,
    expires_at: datetime | None = None,
    from_grant: Grant | None = None,
) -> LedgerEntry:
    """Write one entry and the grants behind it. The wallet is locked; the same key returns what it wrote."""
    repeat = _find_repeat(wallet, kind, amount_microcredits, idempotency_key, hold)
    if repeat is not None:
        return repeat
    if hold is None and -amount_microcredits > wallet.available_microcredits:
        raise InsufficientCredits(
            available_microcredits=wallet.available_microcredits, needed_microcredits=-amount_microcredits
        )
    wallet.balance_microcredits += amount_microcredits  # the database does it; this keeps our copy in step
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
    if kind == EntryKind.REFUND:
        parts = _charged_parts(entry)
    elif amount_microcredits > 0:
        Grant.objects.create(
            wallet=wallet,
            entry=entry,
            amount_microcredits=amount_microcredits,
            remaining_microcredits=amount_microcredits,
            expires_at=expires_at,
        )
        return entry
    elif from_grant is not None:
        parts = [(from_grant.pk, from_grant.remaining_microcredits)]
    else:
        in_order = wallet.grants.unspent().in_spending_order()
        parts = list(in_order.values_list("pk", "remaining_microcredits"))
    _use_grants(entry, parts)
    return entry


def _use_grants(entry: LedgerEntry, parts: list[tuple[int, int]]) -> None:
    """Divide the entry among grants, in order, each up to its part."""
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


def _charged_parts(refund_entry: LedgerEntry) -> list[tuple[int, int]]:
    """What each grant paid for the refunded charge and has not got back, the last used first."""
    uses = GrantUse.objects.filter(entry__hold=refund_entry.hold_id)
    paid = uses.values("grant").annotate(
        paid=-Sum("amount_microcredits"), last=Max("pk", filter=Q(amount_microcredits__lt=0))
    )
    return list(paid.filter(paid__gt=0).order_by("-last").values_list("grant", "paid"))


def _expire_due_grants(wallet: Wallet) -> None:
    """Take what is left of the wallet's overdue grants, as far as it is not held. The wallet is locked."""
    for grant in wallet.grants.due().in_spending_order():
        amount = min(grant.remaining_microcredits, wallet.available_microcredits)
        if amount > 0:
            last_use = grant.uses.aggregate(last=Max("pk"))["last"] or 0
            _move(
                wallet,
                kind=EntryKind.EXPIRY,
                amount_microcredits=-amount,
                idempotency_key=f"expiry:{grant.pk}:{last_use}",
                reason=f"grant {grant.pk} expired",
                from_grant=grant,
            )


def _find_repeat(
    wallet: Wallet, kind: EntryKind, amount_microcredits: int, idempotency_key: str, hold: Hold | None
) -> LedgerEntry | None:
    """What this key wrote before. Raises IdempotencyConflict when that had other inputs."""
    earlier = LedgerEntry.objects.filter(idempotency_key=idempotency_key).first()
    inputs_hash = _hash_inputs(wallet.pk, kind, amount_microcredits, hold.pk if hold else None)
    if earlier is not None and earlier.inputs_hash != inputs_hash:
        raise IdempotencyConflict(f"{idempotency_key} was used with other inputs")
    return earlier


def _demand_positive(amount_microcredits: int) -> None:
    if type(amount_microcredits) is not int or amount_microcredits <= 0:
        raise ValueError(f"the amount is a positive integer, not {amount_microcredits!r}")


def _lock_hold(hold_id: UUID) -> Hold:
    """Lock the hold's wallet, then read the hold: every writer of a hold holds that lock."""
    wallet = Wallet.objects.select_for_update(of=("self",)).get(holds__pk=hold_id)
    locked = Hold.objects.get(pk=hold_id)
    locked.wallet = wallet
    return locked


def _hash_inputs(*inputs: object) -> str:
    """SHA-256 of the inputs of a movement, to tell a retry from another request under the same key."""
    return hashlib.sha256(json.dumps([str(value) for value in inputs]).encode()).hexdigest()
