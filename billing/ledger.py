"""The only writer of credits: open a wallet, grant, adjust, hold, settle, release, refund, expire.

Each function is one transaction that first locks the one wallet row. If the process dies anywhere inside,
PostgreSQL rolls all of it back; if it dies after the commit, a retry finds what was written and returns it.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from functools import wraps
from typing import ParamSpec
from uuid import UUID

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Sum
from django.db.models.functions import Now
from django.utils import timezone

from accounts.models import ApiKey, User
from billing import hot_path
from billing.caps import MonthlyCapReached, cap_room_microcredits, refuse_over_cap
from billing.entries import (
    IdempotencyConflict,
    InsufficientCredits,
    LedgerError,
    demand_positive,
    expire_due_grants,
    find_repeat,
    move,
    pay_debts,
)
from billing.key_caps import KeyCapReached, key_cap_room_microcredits, refuse_over_key_cap
from billing.models import (
    GRANT_KINDS,
    Debt,
    DebtPayment,
    EntryKind,
    Grant,
    Hold,
    HoldLimit,
    HoldState,
    LedgerEntry,
    TopUp,
    Wallet,
)
from billing.prices import PriceTag, current_price_tags
from billing.watch import call_if_low

P = ParamSpec("P")

# From `entries` and `caps`, for those who call us.
__all__ = ["IdempotencyConflict", "InsufficientCredits", "KeyCapReached", "LedgerError", "MonthlyCapReached"]


class HoldClosed(LedgerError):
    """The hold was already settled with another charge, released or expired."""


class CreditsOwed(LedgerError):
    """A payment was taken back after its credits were spent: nothing is sold until `owed_microcredits` are paid."""

    def __init__(self, *, owed_microcredits: int) -> None:
        super().__init__(f"{owed_microcredits} microcredits are owed")
        self.owed_microcredits = owed_microcredits


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
    """Take credits of a payment back, once for each key: what is free now, the rest is owed and blocks the wallet.

    Nothing is floored to zero. Returns the entry, or None when nothing was free. Raises ValueError for an amount
    that is not a positive integer.
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
    """Undo a claw-back after a won dispute, once for each key: first what is still owed for it, the rest in credits.

    Returns the entry, or None when all of it was still owed.
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


def owed_microcredits(*, wallet: Wallet) -> int:
    """What the wallet owes for payments that were taken back."""
    open_debts = wallet.debts.filter(remaining_microcredits__gt=0)
    return open_debts.aggregate(total=Sum("remaining_microcredits"))["total"] or 0


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
    return move(
        lock_wallet(user=user),
        kind=EntryKind.ADJUSTMENT,
        amount_microcredits=amount_microcredits,
        idempotency_key=idempotency_key,
        reason=reason,
        by=by,
    )


def _undone_alone(change: Callable[P, Hold]) -> Callable[P, Hold]:
    """The same change, which inside a caller's transaction gets a savepoint: an error undoes the change and no more.

    Outside one it is a transaction of its own as it stands, and usually a single statement. That is committed by the
    database itself, so nobody who waits for the wallet waits for our COMMIT (docs/adr/0042).
    """

    @wraps(change)
    def changed(*args: P.args, **kwargs: P.kwargs) -> Hold:
        if not connection.in_atomic_block:
            return change(*args, **kwargs)
        with transaction.atomic():
            return change(*args, **kwargs)

    return changed


def hold_within(
    *,
    user: User,
    model_key: str,
    prompt_tokens: int,
    max_completion_tokens: int,
    reference: str,
    api_key: ApiKey | None = None,
    is_from_cache: bool = False,
) -> Hold:
    """Set the worst case of an answer aside at the current prices, once for each reference.

    Where the caller has a transaction it is part of that, which must not go on after an error; `hold` may be tried
    there and fail.

    When the wallet affords the prompt but not all of `max_completion_tokens`, the hold covers the tokens it does
    afford: read `max_completion_tokens` of the result, and `limited_by`. So it does under a monthly cap, the customer's
    or that of the `api_key` they asked with. Raises InsufficientCredits, MonthlyCapReached or KeyCapReached when that
    would be fewer than MIN_AFFORDABLE_TOKENS (or than asked for), NoPrice for an unpriced model, ValueError for counts
    below 1, and IdempotencyConflict for a reference that already has a hold. With `is_from_cache` it is at the prices
    of the cache and never fewer tokens: `charge_from_cache` settles it.
    """
    if prompt_tokens < 1 or max_completion_tokens < 1:
        raise ValueError("a hold needs at least one token each way")
    now = timezone.now()
    draft = Hold(
        reference=reference,
        api_key=api_key,
        model_key=model_key,
        is_from_cache=is_from_cache,
        prompt_tokens=prompt_tokens,
        max_completion_tokens=max_completion_tokens,
        created_at=now,
        expires_at=now + timedelta(seconds=settings.HOLD_LIFETIME_SECONDS),
    )
    is_key_capped = api_key is not None and api_key.monthly_cap_microcredits is not None
    if not is_from_cache and not is_key_capped:
        placed = hot_path.place_hold(user.pk, draft)
        if placed is not None:
            return placed
    with transaction.atomic(savepoint=False):
        return _hold_under_lock(user, draft)


hold = _undone_alone(hold_within)


def settle_within(*, hold_id: UUID, completion_tokens: int) -> Hold:
    """Charge prompt tokens x price + `completion_tokens` x price and free the rest of the hold.

    Settling again with the same count changes nothing. Raises ValueError for a count outside the hold and
    HoldClosed when the hold was closed in any other way. Where the caller has a transaction it is part of that, which
    must not go on after an error; `settle` may be tried there and fail.
    """
    settled = hot_path.settle_hold(hold_id, completion_tokens, timezone.now())
    if settled is None:
        with transaction.atomic(savepoint=False):
            settled = _settle_under_lock(hold_id, completion_tokens)
    call_if_low(settled.wallet)
    return settled


settle = _undone_alone(settle_within)


@transaction.atomic
def charge_from_cache(
    *,
    user: User,
    model_key: str,
    prompt_tokens: int,
    completion_tokens: int,
    reference: str,
    api_key: ApiKey | None = None,
) -> Hold:
    """Charge an answer that was generated before: these tokens, at ANSWER_CACHE_PRICE_PERCENT of the current prices.

    Returns the settled hold. Raises as `hold` does, InsufficientCredits (or a cap) when all of it cannot be paid.
    """
    exact = hold_within(
        user=user,
        model_key=model_key,
        prompt_tokens=prompt_tokens,
        max_completion_tokens=completion_tokens,
        reference=reference,
        api_key=api_key,
        is_from_cache=True,
    )
    return settle_within(hold_id=exact.pk, completion_tokens=completion_tokens)


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
        open_hold.wallet.held_microcredits -= open_hold.amount_microcredits  # as the database just did
        pay_debts(open_hold.wallet)
    return open_hold


@transaction.atomic
def refund(
    *, hold_id: UUID, amount_microcredits: int, idempotency_key: str, reason: str, by: User | None
) -> LedgerEntry:
    """Give back a charge or a part of it, once for each key, to the grants that paid it. By None: Tally itself does.

    Raises ValueError without a reason or for an amount that is not a positive integer, RefundTooLarge when all
    refunds together would exceed the charge, HoldClosed when nothing was charged, and IdempotencyConflict.
    """
    if not reason.strip():
        raise ValueError("a refund needs a reason")
    demand_positive(amount_microcredits)
    charged = _lock_hold(hold_id)
    repeat = find_repeat(charged.wallet, EntryKind.REFUND, amount_microcredits, idempotency_key, charged)
    if repeat is not None:
        return repeat
    if charged.state != HoldState.SETTLED:
        raise HoldClosed(f"hold {hold_id} is {charged.state}: nothing was charged")
    refundable = _refundable_microcredits(charged)
    if amount_microcredits > refundable:
        raise RefundTooLarge(refundable_microcredits=refundable)
    return move(
        charged.wallet,
        kind=EntryKind.REFUND,
        amount_microcredits=amount_microcredits,
        idempotency_key=idempotency_key,
        reason=reason,
        by=by,
        hold=charged,
    )


@transaction.atomic
def refund_rest(*, hold_id: UUID, idempotency_key: str, reason: str) -> LedgerEntry | None:
    """Give back all of a charge that was not given back yet, since we failed to hand over what was paid for.

    Once for each hold; None when nothing was charged or nothing is left.
    """
    charged = _lock_hold(hold_id)
    left = _refundable_microcredits(charged) if charged.state == HoldState.SETTLED else 0
    if not left:
        return None
    return refund(hold_id=hold_id, amount_microcredits=left, idempotency_key=idempotency_key, reason=reason, by=None)


def expire_grants() -> int:
    """Take back what is left of grants whose time is over, a ledger entry each; return how many wallets had some.

    What running answers hold stays until they end: the next run takes it.
    """
    due = Grant.objects.due().order_by("wallet_id").values_list("wallet_id", flat=True).distinct()
    wallet_ids = list(due)
    for wallet_id in wallet_ids:
        with transaction.atomic():
            expire_due_grants(Wallet.objects.select_for_update().get(pk=wallet_id))
    return len(wallet_ids)


def expire_holds() -> int:
    """Free the holds that outlived HOLD_LIFETIME_SECONDS, and return how many.

    The net under everything else: the sweeper of `inference` frees a hold long before it gets here. By the clock of
    the database; and should that, or who made the hold, have been wrong about the time, not while its answer goes on.
    """
    overdue = Hold.objects.filter(state=HoldState.ACTIVE, expires_at__lt=Now())
    overdue = overdue.exclude(generation__state__in=("queued", "running"))
    hold_ids = list(overdue.order_by("wallet_id").values_list("pk", flat=True)[:1000])
    expired = 0
    for hold_id in hold_ids:
        try:
            expired += release(hold_id=hold_id, expired=True).state == HoldState.EXPIRED
        except HoldClosed:  # settled since the list was read
            continue
    return expired


def lock_wallet(*, user: User) -> Wallet:
    """Lock the user's wallet until the transaction ends: whatever this user pays for waits its turn."""
    return Wallet.objects.select_for_update().get(user=user)


def _hold_under_lock(user: User, draft: Hold) -> Hold:
    """The hold of any wallet, or why there is none; as many completion tokens as it and the caps afford."""
    wallet = draft.wallet = lock_wallet(user=user)
    room_of_caps = _room_of_caps(draft)
    if room_of_caps and not draft.is_from_cache:
        placed = hot_path.place_hold(user.pk, draft, min(room_of_caps.values()))
        if placed is not None:
            return placed
    tag = _price_tag_of(draft)
    draft.prompt_microcredits_per_token = tag.prompt_microcredits_per_token
    draft.completion_microcredits_per_token = tag.completion_microcredits_per_token
    _refuse_debtor(wallet)
    expire_due_grants(wallet)
    if Hold.objects.filter(reference=draft.reference).exists():
        raise IdempotencyConflict(f"{draft.reference} already has a hold")
    most_tokens = draft.max_completion_tokens
    if not _fit(draft, most_tokens, room_of_caps):
        needed_microcredits = tag.cost_microcredits(draft.prompt_tokens, _least_tokens(draft, most_tokens))
        refuse_over_cap(wallet, room_of_caps.get(HoldLimit.MONTHLY_CAP), needed_microcredits)
        refuse_over_key_cap(room_of_caps.get(HoldLimit.KEY_CAP), needed_microcredits)
        raise InsufficientCredits(
            available_microcredits=wallet.available_microcredits, needed_microcredits=needed_microcredits
        )
    draft.save(force_insert=True)
    return draft


def _room_of_caps(draft: Hold) -> dict[HoldLimit, int]:
    """What each monthly cap leaves, in microcredits; empty without one. The wallet is locked."""
    rooms = {
        HoldLimit.MONTHLY_CAP: cap_room_microcredits(draft.wallet),
        HoldLimit.KEY_CAP: key_cap_room_microcredits(draft.api_key, draft.wallet),
    }
    return {limit: room for limit, room in rooms.items() if room is not None}


def _price_tag_of(draft: Hold) -> PriceTag:
    tag = current_price_tags([draft.model_key]).get(draft.model_key)
    if tag is None:
        raise NoPrice(f"{draft.model_key} has no price")
    return tag.from_cache() if draft.is_from_cache else tag


def _settle_under_lock(hold_id: UUID, completion_tokens: int) -> Hold:
    """The settlement of any hold, or why it cannot be."""
    settled = _lock_hold(hold_id)
    if not 0 <= completion_tokens <= settled.max_completion_tokens:
        raise ValueError(f"{completion_tokens} tokens, the hold covers {settled.max_completion_tokens}")
    if settled.state != HoldState.ACTIVE:
        if settled.state == HoldState.SETTLED and settled.completion_tokens == completion_tokens:
            return settled
        raise HoldClosed(f"hold {hold_id} is {settled.state}")
    settled.state = HoldState.SETTLED
    settled.completion_tokens = completion_tokens
    settled.charged_microcredits = settled.prompt_cost_microcredits + settled.completion_cost_microcredits
    settled.closed_at = timezone.now()
    settled.save(update_fields=["state", "completion_tokens", "charged_microcredits", "closed_at"])
    settled.wallet.held_microcredits -= settled.amount_microcredits  # as the database does with the entry
    move(
        settled.wallet,
        kind=EntryKind.USAGE,
        amount_microcredits=-settled.charged_microcredits,
        idempotency_key=f"usage:{hold_id}",
        reason=settled.reference,
        hold=settled,
    )
    pay_debts(settled.wallet)
    return settled


def _refuse_debtor(wallet: Wallet) -> None:
    owed = owed_microcredits(wallet=wallet)
    if owed:
        raise CreditsOwed(owed_microcredits=owed)


def _fit(draft: Hold, most_tokens: int, room_of_caps: dict[HoldLimit, int]) -> bool:
    """Size the hold to what its wallet affords, up to `most_tokens`; False when that is too little to be useful.

    What it affords is what is available, within the room that each monthly cap leaves. Notes which of them limited it.
    """
    rooms = {HoldLimit.BALANCE: draft.wallet.available_microcredits, **room_of_caps}
    least = min(rooms, key=lambda limit: rooms[limit])
    token_cost = draft.completion_microcredits_per_token
    affordable_tokens: int = (rooms[least] - draft.prompt_cost_microcredits) // token_cost
    draft.max_completion_tokens = min(most_tokens, affordable_tokens)
    draft.limited_by = least if affordable_tokens < most_tokens else ""
    draft.amount_microcredits = draft.prompt_cost_microcredits + draft.max_completion_tokens * token_cost
    least_tokens = _least_tokens(draft, most_tokens)
    return affordable_tokens >= least_tokens


def _least_tokens(draft: Hold, most_tokens: int) -> int:
    """How short an answer may become before it is refused; one that is written already is not shortened."""
    return most_tokens if draft.is_from_cache else min(most_tokens, settings.MIN_AFFORDABLE_TOKENS)


def _refundable_microcredits(charged: Hold) -> int:
    """What of a settled charge was not given back yet."""
    refunds = charged.entries.filter(kind=EntryKind.REFUND)
    return (charged.charged_microcredits or 0) - (refunds.aggregate(total=Sum("amount_microcredits"))["total"] or 0)


def _lock_hold(hold_id: UUID) -> Hold:
    """Lock the hold's wallet, then read the hold: every writer of a hold holds that lock."""
    wallet = Wallet.objects.select_for_update(of=("self",)).get(holds__pk=hold_id)
    locked = Hold.objects.get(pk=hold_id)
    locked.wallet = wallet
    return locked
