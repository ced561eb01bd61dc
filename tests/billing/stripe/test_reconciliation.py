"""Reconciliation: what Stripe and we disagree about is found, shouted about and never credited by itself."""

import json
from datetime import timedelta
from uuid import uuid4

import pytest
from django.conf import settings as django_settings
from django.core.management import CommandError, call_command
from django.utils import timezone

from billing import tasks
from billing.models import TopUp
from billing.stripe import reconciliation
from billing.stripe.provider import MOST_RETRIES
from tests.billing.stripe.signing import deliver
from tests.billing.stripe.stripe_orders import TOTAL, alerts, balance, buy, dispute_id, order

# Reconciliation


def problems(**options):
    return [finding.problem for finding in reconciliation.reconcile(**options)]


def test_reconciliation_of_what_agrees_finds_nothing(stripe, bob, capsys):
    buy(stripe, bob)
    order(bob)
    stripe.pay_later(order(bob).checkout_reference)
    call_command("reconcile_payments")
    assert "0 findings" in capsys.readouterr().out


def test_paid_but_never_credited_is_found_shouted_about_and_not_credited(stripe, bob, capsys, caplog):
    lost = order(bob)
    stripe.pay(lost.checkout_reference)  # and the webhook is lost
    with pytest.raises(SystemExit) as ended:
        call_command("reconcile_payments")
    assert ended.value.code == 1
    assert f"paid but not credited: order {lost.pk}, checkout {lost.checkout_reference}" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        call_command("reconcile_payments", "--json")
    (finding,) = json.loads(capsys.readouterr().out)["findings"]
    assert (finding["problem"], finding["topup_id"]) == ("paid but not credited", str(lost.pk))
    tasks.reconcile_payments()
    assert [str(lost.pk) in alert for alert in alerts(caplog)] == [True]
    assert balance(bob) == 0


def test_reconciliation_reads_every_page(stripe, bob):
    lost = order(bob)
    stripe.pay(lost.checkout_reference)
    for _other in range(230):
        stripe._add("checkout/sessions", "cs_other", payment_status="paid", payment_intent=None, metadata={})
    assert problems() == ["paid but not credited"]
    assert len([path for _method, path, _sent in stripe.requests if path == "/v1/checkout/sessions"]) == 1 + 3


def test_reconciliation_finds_other_amounts_second_payments_and_unknown_orders(stripe, bob):
    topup = buy(stripe, bob)
    sessions = stripe.objects["checkout/sessions"]
    session = sessions[topup.checkout_reference]
    session["amount_total"] = 9_999
    assert problems() == ["another amount was paid"]
    session["amount_total"] = 10_000
    stripe._add("checkout/sessions", "cs_test", **{**session, "id": "cs_twin", "payment_intent": "pi_twin"})
    assert problems() == ["paid twice, credited once"]
    sessions["cs_twin"]["metadata"] = {"topup_id": str(uuid4())}
    assert problems() == ["paid, but there is no such order"]
    sessions["cs_twin"]["metadata"] = {"topup_id": "17"}  # of something else that is sold on the account
    assert problems() == []


def test_reconciliation_finds_what_we_credited_and_stripe_never_got(stripe, bob):
    topup = buy(stripe, bob)
    session = stripe.objects["checkout/sessions"].pop(topup.checkout_reference)
    assert problems() == ["credited but not paid"]
    stripe.objects["checkout/sessions"][session["id"]] = {**session, "payment_status": "unpaid"}
    assert problems() == ["credited but not paid"]


def test_reconciliation_asks_about_an_older_session_by_name(stripe, bob):
    paid, pending, abandoned = buy(stripe, bob), order(bob), order(bob)
    assert deliver(stripe.pay_later(pending.checkout_reference)) == 200
    for session in stripe.objects["checkout/sessions"].values():
        session["created"] -= 5 * 86_400
    assert problems() == []
    stripe.money_arrives(pending.checkout_reference)  # and the webhook is lost
    assert problems() == ["paid but not credited"]
    TopUp.objects.filter(pk=paid.pk).update(paid_at=timezone.now() - timedelta(days=4))
    assert deliver(stripe.expire(abandoned.checkout_reference)) == 200
    stripe.requests.clear()
    assert problems() == ["paid but not credited"]
    assert [path for _method, path, _sent in stripe.requests] == [
        "/v1/checkout/sessions",
        f"/v1/checkout/sessions/{pending.checkout_reference}",
        "/v1/refunds",
        "/v1/disputes",
    ]


def test_a_refund_in_the_dashboard_that_nobody_heard_of_is_found(stripe, bob, capsys, caplog):
    topup = buy(stripe, bob)
    lost = stripe.refund(topup.payment_reference, 2_500)
    with pytest.raises(SystemExit) as ended:
        call_command("reconcile_payments")
    assert ended.value.code == 1
    sentence = f"refunded at Stripe, not here: order {topup.pk}, checkout {topup.checkout_reference}, "
    assert sentence + "Stripe says $25, we say $0" in capsys.readouterr().out
    tasks.reconcile_payments()
    assert [str(topup.pk) in alert for alert in alerts(caplog)] == [True]
    assert balance(bob) == TOTAL  # it lists, and a person settles
    assert deliver(lost) == 200
    assert problems() == []


def test_a_refund_whose_return_by_the_bank_was_lost_is_found(stripe, bob):
    topup = buy(stripe, bob)
    assert deliver(stripe.refund(topup.payment_reference, 2_500)) == 200
    lost = stripe.refund_moves(next(iter(stripe.objects["refunds"])), "failed", "failed")
    assert problems() == ["refunded here, not at Stripe"]
    assert deliver(lost) == 200
    assert problems() == []


def test_disputes_that_nobody_heard_of_or_that_were_won_unheard_are_found(stripe, bob):
    topup = buy(stripe, bob)
    opened = stripe.open_dispute(topup.payment_reference, 10_000, currency="eur")
    assert problems() == ["disputed at Stripe, not here"]
    assert deliver(opened) == 200
    assert problems() == []
    won = stripe.dispute_moves(dispute_id(opened), "won")
    assert problems() == ["disputed here, not at Stripe"]
    assert deliver(won) == 200
    assert problems() == []


def test_of_an_old_payment_everything_is_asked_when_something_new_happens_to_it(stripe, bob):
    topup = buy(stripe, bob)
    assert deliver(stripe.refund(topup.payment_reference, 2_500)) == 200
    TopUp.objects.filter(pk=topup.pk).update(paid_at=timezone.now() - timedelta(days=400))
    for kind in ("checkout/sessions", "refunds"):
        for found in stripe.objects[kind].values():
            found["created"] -= 400 * 86_400
    assert problems() == []
    lost = stripe.refund(topup.payment_reference, 1_000)
    (finding,) = reconciliation.reconcile()
    assert (finding.problem, finding.detail) == (
        "refunded at Stripe, not here",
        "Stripe says $35, we say $25",
    )
    assert deliver(lost) == 200
    assert problems() == []


def test_refunds_of_whatever_else_is_sold_on_the_account_are_none_of_ours(stripe, bob):
    buy(stripe, bob)
    other = stripe._charge({"amount_total": 10_000, "currency": "usd"})
    stripe.refund(other, 10_000)
    stripe.open_dispute(other, 5)
    stripe._add("refunds", "re", status="succeeded", amount=5, currency="usd", payment_intent=None)
    assert problems() == []


def test_reconciliation_without_an_answer_is_an_error_and_without_stripe_nothing(stripe, bob, settings):
    stripe.failures = [500] * (MOST_RETRIES + 1)
    with pytest.raises(CommandError, match="cannot be reached"):
        call_command("reconcile_payments")
    settings.PAYMENT_PROVIDERS = {}
    assert reconciliation.reconcile() == []


def test_reconciliation_runs_every_day():
    assert django_settings.CELERY_BEAT_SCHEDULE["reconcile-payments"]["task"] == tasks.reconcile_payments.name
