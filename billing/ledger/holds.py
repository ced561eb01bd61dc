"""Holds: the worst-case cost of an answer is set aside before the answer begins, and freed if it never ends."""

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
    """A payment was taken back after its credits were spent. No hold is made until `owed_microcredits` are paid."""

    def __init__(self, *, owed_microcredits: int) -> None:
        super().__init__(f"{owed_microcredits} microcredits are owed")
        self.owed_microcredits = owed_microcredits


class NoPrice(LedgerError):
    """The model has no price, so it cannot be sold."""


def undone_alone(change: Callable[P, Hold]) -> Callable[P, Hold]:
    """Return `change` with a savepoint around it when the caller has a transaction: an error then undoes only `change`.

    Outside a transaction `change` runs as it is, usually as a single statement. The database commits such a statement
    by itself, so other processes that wait for the wallet do not also wait for our COMMIT (docs/adr/0042).
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
    """Set aside the worst-case cost of an answer at the current prices, once for each reference. Returns the hold.

    If the wallet can pay for the prompt but not for all of `max_completion_tokens`, the hold covers only the tokens
    that it can pay for: read `max_completion_tokens` and `limited_by` of the result. The monthly caps of the customer
    and of the `api_key` limit the hold in the same way. With `is_from_cache` the hold has the prices of the cache and
    never covers fewer tokens; `charge_from_cache` settles it.

    Raises InsufficientCredits, MonthlyCapReached or KeyCapReached when the hold would cover fewer than
    MIN_AFFORDABLE_TOKENS and fewer than requested, CreditsOwed while the wallet has a debt, NoPrice for a model without
    a price, ValueError for counts below 1, and IdempotencyConflict for a reference that already has a hold.

    If the caller has a transaction, this is part of it, and the transaction must not continue after an error. Use
    `hold` where the caller continues after a failure.
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
    """Free a hold without a charge and return it. Repeating it changes nothing. Raises HoldClosed if it was settled."""
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
    """Free the holds that are older than HOLD_LIFETIME_SECONDS, 1,000 at most, and return how many.

    This is the last resort: the sweeper of `inference` normally frees a hold long before. The database's clock decides.
    A hold whose answer is queued or running is kept, in case that clock or the clock of the process that made the hold
    was wrong.
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
    """Make a hold on any wallet, for as many completion tokens as the wallet and the caps allow, or raise why not."""
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
    """Return the room under each monthly cap that is set, in microcredits. The wallet is locked."""
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
    """Size the hold to what the wallet can pay, up to `most_tokens`; return False when that is too little to be useful.

    The wallet can pay the smallest of its available credits and the room under each monthly cap. `limited_by` records
    which of them limited the hold.
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
    """Return the fewest tokens that a hold may cover. An answer from the cache exists already and is not shortened."""
    return most_tokens if draft.is_from_cache else min(most_tokens, settings.MIN_AFFORDABLE_TOKENS)


def lock_hold(hold_id: UUID) -> Hold:
    """Lock the hold's wallet, then read and return the hold. Every writer of a hold takes this lock first."""
    wallet = Wallet.objects.select_for_update(of=("self",)).get(holds__pk=hold_id)
    locked = Hold.objects.get(pk=hold_id)
    locked.wallet = wallet
    return locked
