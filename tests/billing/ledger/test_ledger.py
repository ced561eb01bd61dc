"""What each operation of the ledger does, one at a time."""

from datetime import timedelta

import pytest
from django.utils import timezone

from billing import ledger
from billing.models import EntryKind, Hold, HoldState, LedgerEntry, Price, Wallet
from tests.billing.holds import COMPLETION_PRICE, PROMPT_PRICE, charge_from_cache, open_hold
from tests.support.cast import CREDIT, fund

pytestmark = pytest.mark.usefixtures("ledger_alone", "each_way")


def test_every_new_user_has_an_empty_wallet(bob):
    assert (bob.wallet.balance_microcredits, bob.wallet.held_microcredits) == (0, 0)


def test_grant_adds_to_the_balance_and_says_why(bob, faults):
    fund(bob, 5 * CREDIT)
    entry = LedgerEntry.objects.get(wallet__user=bob)
    assert (entry.amount_microcredits, entry.balance_after_microcredits) == (5 * CREDIT, 5 * CREDIT)
    assert entry.contra_account == "marketing"
    assert Wallet.objects.get(user=bob).balance_microcredits == 5 * CREDIT
    assert faults() == []


@pytest.mark.parametrize("amount", [0, -1, 1.5, "5", True, None])
def test_grant_refuses_what_is_not_a_positive_integer(bob, amount):
    with pytest.raises(ValueError, match="positive integer"):
        ledger.grant(user=bob, kind=EntryKind.BONUS, amount_microcredits=amount, idempotency_key="k", reason="test")
    assert LedgerEntry.objects.count() == 0


def test_grant_refuses_a_kind_that_takes_credits(bob):
    with pytest.raises(ValueError, match="does not add"):
        ledger.grant(user=bob, kind=EntryKind.USAGE, amount_microcredits=1, idempotency_key="k", reason="test")


def test_grant_with_the_same_key_grants_once(bob):
    fund(bob, CREDIT, key="same")
    fund(bob, CREDIT, key="same")
    assert Wallet.objects.get(user=bob).balance_microcredits == CREDIT


def test_grant_refuses_a_key_that_was_used_with_other_inputs(bob):
    fund(bob, CREDIT, key="same")
    with pytest.raises(ledger.IdempotencyConflict):
        fund(bob, 2 * CREDIT, key="same")
    assert Wallet.objects.get(user=bob).balance_microcredits == CREDIT


def test_hold_sets_the_worst_case_aside(alice, faults):
    hold = open_hold(alice, 10, 100)
    assert hold.amount_microcredits == 10 * PROMPT_PRICE + 100 * COMPLETION_PRICE
    assert Wallet.objects.get(user=alice).held_microcredits == hold.amount_microcredits
    assert faults() == []


def test_hold_is_clamped_to_what_the_wallet_affords_instead_of_refused(bob):
    fund(bob, 10 * PROMPT_PRICE + 50 * COMPLETION_PRICE + 39)
    hold = open_hold(bob, 10, 1_000_000)
    assert hold.max_completion_tokens == 50


def test_hold_refuses_a_wallet_that_affords_no_useful_answer(bob, settings):
    settings.MIN_AFFORDABLE_TOKENS = 16
    fund(bob, 10 * PROMPT_PRICE + 15 * COMPLETION_PRICE)
    with pytest.raises(ledger.InsufficientCredits) as refused:
        open_hold(bob, 10, 1000)
    assert refused.value.needed_microcredits == 10 * PROMPT_PRICE + 16 * COMPLETION_PRICE
    assert Hold.objects.count() == 0


def test_hold_refuses_an_empty_wallet(bob):
    with pytest.raises(ledger.InsufficientCredits):
        open_hold(bob, 1, 1)


def test_hold_counts_what_is_held_already(bob):
    fund(bob, 10 * PROMPT_PRICE + 100 * COMPLETION_PRICE)
    open_hold(bob, 10, 100)
    with pytest.raises(ledger.InsufficientCredits):
        open_hold(bob, 10, 100)


@pytest.mark.parametrize(("prompt", "completion"), [(0, 10), (10, 0), (-5, 10), (10, -5)])
def test_hold_refuses_counts_below_one(alice, prompt, completion):
    with pytest.raises(ValueError, match="at least one token"):
        open_hold(alice, prompt, completion)


def test_hold_refuses_a_model_without_a_price(alice):
    with pytest.raises(ledger.NoPrice):
        ledger.hold(user=alice, model_key="free-lunch", prompt_tokens=1, max_completion_tokens=1, reference="r")


def test_hold_refuses_a_reference_that_has_one(alice):
    open_hold(alice, reference="twice")
    with pytest.raises(ledger.IdempotencyConflict):
        open_hold(alice, reference="twice")
    assert Hold.objects.count() == 1


def test_hold_keeps_its_prices_when_a_new_version_comes(alice):
    hold = open_hold(alice, 10, 100)
    Price.objects.create(
        model_key="gemma-3-270m",
        prompt_microcredits_per_token=9_999,
        completion_microcredits_per_token=9_999,
        effective_at=timezone.now(),
    )
    assert ledger.settle(hold_id=hold.pk, completion_tokens=5).charged_microcredits == 10 * 20 + 5 * 40
    assert open_hold(alice, 1, 1).amount_microcredits == 2 * 9_999


def test_a_price_of_the_future_is_not_charged_yet(alice):
    Price.objects.create(
        model_key="gemma-3-270m",
        prompt_microcredits_per_token=9_999,
        completion_microcredits_per_token=9_999,
        effective_at=timezone.now() + timedelta(days=1),
    )
    assert open_hold(alice, 1, 1).amount_microcredits == 60


def test_settle_charges_tokens_times_prices_and_frees_the_rest(alice, faults):
    hold = open_hold(alice, 10, 100)
    settled = ledger.settle(hold_id=hold.pk, completion_tokens=42)
    charge = 10 * PROMPT_PRICE + 42 * COMPLETION_PRICE
    wallet = Wallet.objects.get(user=alice)
    assert settled.charged_microcredits == charge
    assert (wallet.balance_microcredits, wallet.held_microcredits) == (100 * CREDIT - charge, 0)
    entry = LedgerEntry.objects.get(hold=hold)
    assert (entry.amount_microcredits, entry.balance_after_microcredits) == (-charge, wallet.balance_microcredits)
    assert faults() == []


def test_settle_may_charge_the_prompt_alone(alice):
    assert ledger.settle(hold_id=open_hold(alice, 10).pk, completion_tokens=0).charged_microcredits == 200


@pytest.mark.parametrize("tokens", [101, -1])
def test_settle_refuses_more_than_was_held(alice, tokens):
    hold = open_hold(alice, 10, 100)
    with pytest.raises(ValueError, match="covers 100"):
        ledger.settle(hold_id=hold.pk, completion_tokens=tokens)
    assert Hold.objects.get().state == HoldState.ACTIVE


def test_settle_twice_charges_once(alice):
    hold = open_hold(alice)
    ledger.settle(hold_id=hold.pk, completion_tokens=7)
    ledger.settle(hold_id=hold.pk, completion_tokens=7)
    assert LedgerEntry.objects.filter(kind=EntryKind.USAGE).count() == 1


def test_settle_refuses_another_count_than_before(alice):
    hold = open_hold(alice)
    ledger.settle(hold_id=hold.pk, completion_tokens=7)
    with pytest.raises(ledger.HoldClosed):
        ledger.settle(hold_id=hold.pk, completion_tokens=8)


def test_release_gives_everything_back(alice, faults):
    hold = open_hold(alice)
    assert ledger.release(hold_id=hold.pk).state == HoldState.RELEASED
    assert ledger.release(hold_id=hold.pk).state == HoldState.RELEASED
    wallet = Wallet.objects.get(user=alice)
    assert (wallet.balance_microcredits, wallet.held_microcredits) == (100 * CREDIT, 0)
    assert faults() == []


def test_a_released_hold_cannot_be_settled_nor_a_settled_one_released(alice):
    released, settled = open_hold(alice), open_hold(alice)
    ledger.release(hold_id=released.pk)
    ledger.settle(hold_id=settled.pk, completion_tokens=1)
    with pytest.raises(ledger.HoldClosed):
        ledger.settle(hold_id=released.pk, completion_tokens=1)
    with pytest.raises(ledger.HoldClosed):
        ledger.release(hold_id=settled.pk)


def test_a_forgotten_hold_expires(alice, settings, faults):
    settings.HOLD_LIFETIME_SECONDS = -1
    open_hold(alice)
    assert ledger.expire_holds() == 1
    assert ledger.expire_holds() == 0
    assert Hold.objects.get().state == HoldState.EXPIRED
    assert Wallet.objects.get(user=alice).held_microcredits == 0
    assert faults() == []


def test_an_answer_from_the_cache_costs_exactly_its_tokens_at_a_tenth(alice, faults):
    hold = charge_from_cache(alice, prompt_tokens=10, completion_tokens=100)
    assert (hold.prompt_microcredits_per_token, hold.completion_microcredits_per_token) == (2, 4)
    assert hold.charged_microcredits == hold.amount_microcredits == 10 * 2 + 100 * 4
    wallet = Wallet.objects.get(user=alice)
    assert (wallet.balance_microcredits, wallet.held_microcredits) == (100 * CREDIT - 420, 0)
    assert faults() == []


@pytest.mark.parametrize(
    ("percent", "prices"), [(1, (1, 1)), (3, (1, 2)), (10, (2, 4)), (51, (11, 21)), (99, (20, 40))]
)
def test_cache_prices_are_rounded_up_and_never_zero(alice, settings, percent, prices):
    settings.ANSWER_CACHE_PRICE_PERCENT = percent
    hold = charge_from_cache(alice)
    assert (hold.prompt_microcredits_per_token, hold.completion_microcredits_per_token) == prices


def test_an_answer_from_the_cache_is_never_shortened_to_what_the_wallet_affords(bob):
    fund(bob, 10 * 2 + 100 * 4 - 1)
    with pytest.raises(ledger.InsufficientCredits) as refused:
        charge_from_cache(bob, prompt_tokens=10, completion_tokens=100)
    assert refused.value.needed_microcredits == 10 * 2 + 100 * 4
    assert Hold.objects.count() == 0
    fund(bob, 1)
    charge_from_cache(bob, prompt_tokens=10, completion_tokens=100)
    assert Wallet.objects.get(user=bob).balance_microcredits == 0


def test_an_answer_from_the_cache_is_charged_once_for_each_reference(alice):
    charge_from_cache(alice, reference="twice")
    with pytest.raises(ledger.IdempotencyConflict):
        charge_from_cache(alice, reference="twice")
    assert LedgerEntry.objects.filter(kind=EntryKind.USAGE).count() == 1
