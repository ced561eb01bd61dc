"""Settlements: an answer is charged, and the rest of its hold is freed."""

from uuid import UUID

from django.db import transaction
from django.utils import timezone

from accounts.models import ApiKey, User
from billing.ledger import hot_path
from billing.ledger.entries import move, pay_debts
from billing.ledger.holds import HoldClosed, hold_within, lock_hold, undone_alone
from billing.ledger.thresholds import call_if_low
from billing.models import EntryKind, Hold, HoldState


def settle_within(*, hold_id: UUID, completion_tokens: int) -> Hold:
    """Charge prompt tokens x price + `completion_tokens` x price and free the rest of the hold. Returns the hold.

    Settling again with the same count changes nothing. Raises ValueError for a count outside the hold, and HoldClosed
    when the hold was closed in any other way. If the caller has a transaction, this is part of it, and the transaction
    must not continue after an error. Use `settle` where the caller continues after a failure.
    """
    settled = hot_path.settle_hold(hold_id, completion_tokens, timezone.now())
    if settled is None:
        with transaction.atomic(savepoint=False):
            settled = _settle_under_lock(hold_id, completion_tokens)
    call_if_low(settled.wallet)
    return settled


settle = undone_alone(settle_within)


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
    """Charge an answer from the cache: these tokens, at ANSWER_CACHE_PRICE_PERCENT of the current prices.

    Returns the settled hold. Raises what `hold` raises: InsufficientCredits, or the error of a cap, if the wallet
    cannot pay for the whole answer.
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


def _settle_under_lock(hold_id: UUID, completion_tokens: int) -> Hold:
    """Settle any hold, or raise why it cannot be settled."""
    settled = lock_hold(hold_id)
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
    settled.wallet.held_microcredits -= settled.amount_microcredits  # as the database does when the entry is inserted
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
