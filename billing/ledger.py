"""The only writer of credits: open a wallet, grant, hold, settle, release.

Each function is one transaction that first locks the one wallet row. If the process dies anywhere inside,
PostgreSQL rolls all of it back; if it dies after the commit, a retry finds what was written and returns it.
"""

import hashlib
import json
from datetime import timedelta
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from accounts.models import User
from billing.models import CREDIT_KINDS, EntryKind, Hold, HoldState, LedgerEntry, Price, Wallet


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
    by: User | None = None,
) -> LedgerEntry:
    """Add credits to a wallet, once for each key.

    Raises ValueError for an amount that is not a positive integer or a kind that does not add credits, and
    IdempotencyConflict when the key was used with other inputs.
    """
    if kind not in CREDIT_KINDS:
        raise ValueError(f"{kind} does not add credits")
    if type(amount_microcredits) is not int or amount_microcredits <= 0:
        raise ValueError(f"a grant is a positive integer, not {amount_microcredits!r}")
    wallet = lock_wallet(user=user)
    inputs_hash = _hash_inputs(wallet.pk, kind, amount_microcredits)
    earlier = LedgerEntry.objects.filter(idempotency_key=idempotency_key).first()
    if earlier is not None:
        if earlier.inputs_hash != inputs_hash:
            raise IdempotencyConflict(f"{idempotency_key} was used with other inputs")
        return earlier
    return LedgerEntry.objects.create(
        wallet=wallet,
        kind=kind,
        amount_microcredits=amount_microcredits,
        balance_after_microcredits=wallet.balance_microcredits + amount_microcredits,
        idempotency_key=idempotency_key,
        inputs_hash=inputs_hash,
        reason=reason,
        created_by=by,
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
    LedgerEntry.objects.create(
        wallet=open_hold.wallet,
        kind=EntryKind.USAGE,
        amount_microcredits=-charge,
        balance_after_microcredits=open_hold.wallet.balance_microcredits - charge,
        idempotency_key=f"usage:{hold_id}",
        inputs_hash=_hash_inputs(open_hold.wallet_id, EntryKind.USAGE, -charge),
        hold=open_hold,
        reason=open_hold.reference,
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


def _lock_hold(hold_id: UUID) -> Hold:
    """Lock the hold's wallet, then read the hold: every writer of a hold holds that lock."""
    wallet = Wallet.objects.select_for_update(of=("self",)).get(holds__pk=hold_id)
    locked = Hold.objects.get(pk=hold_id)
    locked.wallet = wallet
    return locked


def _hash_inputs(*inputs: object) -> str:
    """SHA-256 of the inputs of a movement, to tell a retry from another request under the same key."""
    return hashlib.sha256(json.dumps([str(value) for value in inputs]).encode()).hexdigest()
