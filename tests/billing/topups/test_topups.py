"""Orders: credited once, by their own provider, and taken back exactly, also when the credits were spent."""

import pytest

from billing import ledger
from billing.models import Debt, EntryKind, Grant, LedgerEntry, Package, TopUpState, Wallet
from billing.topups import orders
from billing.topups.orders import TopUpConflict
from tests.billing.holds import open_hold
from tests.billing.orders import complete, disputed, order, refunded, spend_credits
from tests.support.cast import CREDIT, at_once

pytestmark = pytest.mark.usefixtures("without_answers")


def balance(user):
    return Wallet.objects.get(user=user).balance_microcredits


@pytest.fixture
def paid(bob):
    topup = order(bob, 500, bonus=50 * CREDIT)
    complete(topup)
    return topup


def test_a_paid_order_is_credited_with_its_bonus(bob, paid, faults):
    paid.refresh_from_db()
    assert (paid.state, paid.payment_reference) == (TopUpState.PAID, f"payment-{paid.pk}")
    assert balance(bob) == 550 * CREDIT
    kinds = LedgerEntry.objects.values_list("kind", "amount_microcredits")
    assert sorted(kinds) == [("bonus", 50 * CREDIT), ("top_up", 500 * CREDIT)]
    assert faults() == []


def test_an_order_reported_paid_again_is_credited_once(bob, paid):
    complete(paid)
    assert balance(bob) == 550 * CREDIT


def test_a_second_payment_of_an_order_is_not_credited_in_silence(bob, paid):
    with pytest.raises(TopUpConflict, match="paid twice"):
        orders.complete_topup(
            topup_id=paid.pk, provider="bank", amount_minor=500, currency="usd", payment_reference="another"
        )
    assert balance(bob) == 550 * CREDIT


@pytest.mark.django_db(transaction=True)
def test_an_order_reported_paid_many_times_at_once_is_credited_once(bob, faults):
    topup = order(bob)
    at_once(6, lambda _n: complete(topup))
    assert balance(bob) == 500 * CREDIT
    assert faults() == []


def test_one_provider_cannot_complete_anothers_order(bob):
    topup = order(bob)
    with pytest.raises(TopUpConflict):
        complete(topup, provider="sandbox")
    assert balance(bob) == 0


@pytest.mark.parametrize("wrong", [{"amount_minor": 499}, {"amount_minor": 5000}, {"currency": "eur"}])
def test_another_amount_or_currency_is_not_credited(bob, wrong):
    topup = order(bob)
    with pytest.raises(TopUpConflict):
        complete(topup, **wrong)
    topup.refresh_from_db()
    assert (topup.state, balance(bob)) == (TopUpState.CREATED, 0)


def test_settled_then_failed_then_settled_again_is_credited_once(bob, paid, faults):
    orders.fail_topup(topup_id=paid.pk, provider="bank", state=TopUpState.FAILED)
    complete(paid)
    paid.refresh_from_db()
    assert (paid.state, balance(bob)) == (TopUpState.PAID, 550 * CREDIT)
    assert faults() == []


def test_a_failed_order_that_is_paid_late_is_credited(bob):
    topup = order(bob)
    orders.fail_topup(topup_id=topup.pk, provider="bank", state=TopUpState.FAILED)
    complete(topup)
    assert balance(bob) == 500 * CREDIT


def test_a_refund_takes_its_share_of_credits_and_bonus(bob, paid, faults):
    refunded(paid, 100)
    assert balance(bob) == 440 * CREDIT
    refunded(paid, 100)  # the same report again
    with pytest.raises(orders.StaleReading):  # an old report, late
        orders.set_refunded(topup_id=paid.pk, provider="bank", refunded_minor=50, reading=0)
    assert balance(bob) == 440 * CREDIT
    refunded(paid, 500)
    assert balance(bob) == 0
    assert faults() == []


def test_a_refund_that_the_bank_sent_back_gives_the_credits_back(bob, paid, faults):
    refunded(paid, 200)
    refunded(paid, 50)
    assert balance(bob) == 495 * CREDIT
    refunded(paid, 0)
    assert balance(bob) == 550 * CREDIT
    assert faults() == []


def test_shares_are_rounded_down_and_all_of_it_is_all(bob, faults):
    topup = order(bob, 300, bonus=1)
    complete(topup)
    refunded(topup, 100)
    assert balance(bob) == 200 * CREDIT + 1
    refunded(topup, 300)
    assert balance(bob) == 0
    assert faults() == []


def test_a_claw_back_takes_the_payments_own_credits_first(bob, paid):
    other = order(bob, 100)
    complete(other)
    refunded(other, 100)
    left = dict(Grant.objects.values_list("entry__idempotency_key", "remaining_microcredits"))
    assert left == {
        f"topup:{paid.pk}": 500 * CREDIT,
        f"topup-bonus:{paid.pk}": 50 * CREDIT,
        f"topup:{other.pk}": 0,
    }


def test_a_chargeback_of_spent_credits_is_owed_and_blocks_spending(bob, paid, faults):
    spend_credits(bob, 400)
    disputed(paid, 500)
    assert balance(bob) == 0
    assert Debt.objects.get().remaining_microcredits == 400 * CREDIT
    with pytest.raises(ledger.CreditsOwed) as refused:
        open_hold(bob, 1, 1)
    assert refused.value.owed_microcredits == 400 * CREDIT
    assert faults() == []


def test_what_comes_in_pays_what_is_owed_first(bob, paid, faults):
    spend_credits(bob, 400)
    disputed(paid, 500)
    complete(order(bob, 300))
    assert (balance(bob), Debt.objects.get().remaining_microcredits) == (0, 100 * CREDIT)
    complete(order(bob, 300))
    assert (balance(bob), Debt.objects.get().remaining_microcredits) == (200 * CREDIT, 0)
    assert open_hold(bob, 1, 1)
    assert faults() == []


def test_a_won_dispute_gives_back_what_was_taken_and_forgives_what_is_owed(bob, paid, faults):
    spend_credits(bob, 400)
    disputed(paid, 500)
    disputed(paid, 0)
    assert balance(bob) == 150 * CREDIT
    assert Debt.objects.get().remaining_microcredits == 0
    assert open_hold(bob, 1, 1)
    assert faults() == []


def test_a_won_dispute_after_a_refund_gives_back_net_of_it(bob, paid, faults):
    refunded(paid, 200)
    assert balance(bob) == 330 * CREDIT
    disputed(paid, 500)  # refund and dispute together take all, not more
    assert balance(bob) == 0
    disputed(paid, 0)
    assert balance(bob) == 330 * CREDIT
    disputed(paid, 500)
    disputed(paid, 0)
    disputed(paid, 0)
    assert balance(bob) == 330 * CREDIT
    assert faults() == []


def test_a_won_dispute_after_the_debt_was_paid_gives_that_back_too(bob, paid, faults):
    spend_credits(bob, 400)
    disputed(paid, 500)
    complete(order(bob, 1000))
    assert balance(bob) == 600 * CREDIT
    disputed(paid, 0)
    assert balance(bob) == 1150 * CREDIT
    assert faults() == []


def test_what_an_answer_holds_is_owed_until_it_ends(bob, paid, faults):
    hold = open_hold(bob, 1, 5_000_000)
    disputed(paid, 500)
    held = Wallet.objects.get(user=bob).held_microcredits
    assert balance(bob) == held
    ledger.settle(hold_id=hold.pk, completion_tokens=0)
    assert balance(bob) == 0
    assert Debt.objects.get().remaining_microcredits == 20
    assert faults() == []


def test_an_unpaid_order_cannot_be_refunded_or_disputed(bob):
    topup = order(bob)
    for report in (refunded, disputed):
        with pytest.raises(TopUpConflict):
            report(topup, 100)


@pytest.mark.django_db(transaction=True)
def test_a_dispute_reported_twice_at_once_takes_once(bob, faults):
    topup = order(bob)
    complete(topup)
    at_once(4, lambda _n: disputed(topup, 500))
    assert balance(bob) == 0
    assert LedgerEntry.objects.filter(kind=EntryKind.CHARGEBACK).count() == 1
    assert Debt.objects.count() == 0
    assert faults() == []


@pytest.mark.parametrize("amount", [0, -100, 99, 100_001, 10**12, 1.5, "500", None, True])
def test_an_amount_out_of_bounds_is_refused(amount):
    with pytest.raises(orders.InvalidAmount, match="between"):
        orders.offer_of_amount(amount)


def test_a_custom_amount_buys_a_credit_a_cent():
    offer = orders.offer_of_amount(1234)
    assert (offer.credits_microcredits, offer.bonus_microcredits) == (1234 * CREDIT, 0)


def test_a_package_is_what_it_says(db):
    package = Package.objects.create(
        name="Large", price_minor=5000, credits_microcredits=5000 * CREDIT, bonus_microcredits=500 * CREDIT
    )
    offer = orders.offer_of_package(package)
    assert (offer.amount_minor, offer.credits_microcredits, offer.bonus_microcredits) == (
        5000,
        5000 * CREDIT,
        500 * CREDIT,
    )
