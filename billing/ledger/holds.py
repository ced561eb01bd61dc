"""Holds: the worst case of an answer, set aside before it begins, and freed if it never ends."""

from collections.abc import Callable
from datetime import timedelta
from functools import wraps
from typing import ParamSpec
from uuid import UUID

from django.conf import settings
from django.db import connection, transaction
from django.db.models.functions import Now
from django.utils import timezone

from accounts.models import ApiKey, User
from billing.ledger import hot_path
from billing.ledger.caps import cap_room_microcredits, refuse_over_cap
from billing.ledger.entries import IdempotencyConflict, InsufficientCredits, LedgerError, expire_due_grants, pay_debts
from billing.ledger.key_caps import key_cap_room_microcredits, refuse_over_key_cap
from billing.ledger.prices import PriceTag, current_price_tags
from billing.ledger.wallets import lock_wallet, owed_microcredits
from billing.models import Hold, HoldLimit, HoldState, Wallet

P = ParamSpec("P")


class HoldClosed(LedgerError):
    """The hold was already settled with another charge, released or expired."""


class CreditsOwed(LedgerError):
    """A payment was taken back after its credits were spent: nothing is sold until `owed_microcredits` are paid."""

    def __init__(self, *, owed_microcredits: int) -> None:
        super().__init__(f"{owed_microcredits} microcredits are owed")
        self.owed_microcredits = owed_microcredits


class NoPrice(LedgerError):
    """Nobody has set a price for this model, so it cannot be sold."""


def undone_alone(change: Callable[P, Hold]) -> Callable[P, Hold]:
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


hold = undone_alone(hold_within)


@transaction.atomic
def release(*, hold_id: UUID, expired: bool = False) -> Hold:
    """Free a hold without a charge. Doing it again changes nothing; raises HoldClosed if it was settled."""
    open_hold = lock_hold(hold_id)
    if open_hold.state == HoldState.SETTLED:
        raise HoldClosed(f"hold {hold_id} is settled")
    if open_hold.state == HoldState.ACTIVE:
        open_hold.state = HoldState.EXPIRED if expired else HoldState.RELEASED
        open_hold.closed_at = timezone.now()
        open_hold.save(update_fields=["state", "closed_at"])
        open_hold.wallet.held_microcredits -= open_hold.amount_microcredits  # as the database just did
        pay_debts(open_hold.wallet)
    return open_hold


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


def lock_hold(hold_id: UUID) -> Hold:
    """Lock the hold's wallet, then read the hold: every writer of a hold holds that lock."""
    wallet = Wallet.objects.select_for_update(of=("self",)).get(holds__pk=hold_id)
    locked = Hold.objects.get(pk=hold_id)
    locked.wallet = wallet
    return locked
