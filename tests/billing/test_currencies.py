"""Currencies with no decimals, with three, and those that Stripe counts in another way than people do."""

from decimal import Decimal
from uuid import uuid4

import pytest
from django.core import mail
from django.core.exceptions import ValidationError
from django.urls import reverse

from billing.currencies import format_money
from billing.models import AutomaticTopUp, Package, PaymentEvent, TopUp
from billing.refunds.requests import request_refund
from billing.stripe import reconciliation
from billing.topups import automatic as automatic_topups
from billing.topups import orders
from billing.topups.packages import seed_packages
from billing.topups.payments import PaymentError
from tests.billing.stripe.signing import deliver
from tests.billing.stripe.stripe_orders import balance
from tests.billing.topups.automatic import BELOW, answer, save_stripe_card, spend_down, turn_on
from tests.support.cast import CREDIT, fund
from tests.support.databases.queue import clear_queue, run_tasks

pytestmark = pytest.mark.usefixtures("ledger_alone")

# What people write, what we store, what Stripe is asked for (https://docs.stripe.com/currencies)
AMOUNTS = [
    ("usd", "5.00", 500, 500, "$5"),
    ("jpy", "500", 500, 500, "¥500"),
    ("kwd", "5.000", 5000, 5000, "KWD\u00a05"),
    ("huf", "500", 500, 50_000, "HUF\u00a0500"),
    ("isk", "500", 500, 50_000, "ISK\u00a0500"),
    ("ugx", "5000", 5000, 500_000, "UGX\u00a05,000"),
]


@pytest.fixture(autouse=True)
def _queue(db):
    clear_queue()


@pytest.fixture
def sell(settings):
    """Call it to sell for another currency."""

    def change(currency):
        settings.TOPUP_CURRENCY = currency
        settings.TOPUP_MINOR_BOUNDS = (100, 1_000_000)

    return change


def asked(stripe):
    """The amount and the currency of the checkout that was asked for last."""
    sent = stripe.requests[-1][2]
    return int(sent["line_items[0][price_data][unit_amount]"]), sent["line_items[0][price_data][currency]"]


def order(client, amount):
    return client.post(reverse("billing:order"), {"idempotency_key": uuid4(), "amount": amount})


@pytest.mark.parametrize(("currency", "typed", "minor", "at_stripe", "shown"), AMOUNTS)
def test_what_a_customer_types_is_what_stripe_is_asked_for_and_what_every_page_says(
    client, bob, stripe, sell, currency, typed, minor, at_stripe, shown
):
    sell(currency)
    client.force_login(bob)
    assert order(client, typed).status_code == 302
    topup = TopUp.objects.get()
    assert (topup.amount_minor, topup.currency) == (minor, currency)
    assert asked(stripe) == (at_stripe, currency)
    assert deliver(stripe.pay(topup.checkout_reference)) == 200
    assert balance(bob) == minor * CREDIT
    assert PaymentEvent.objects.get().error == ""
    assert shown in client.get(reverse("billing:topup", args=[topup.pk])).content.decode()
    assert reconciliation.reconcile() == []


@pytest.mark.parametrize(("currency", "typed", "minor", "at_stripe", "shown"), AMOUNTS)
def test_a_refund_of_ours_and_one_in_the_dashboard_count_the_same(
    client, bob, staff, stripe, sell, currency, typed, minor, at_stripe, shown
):
    sell(currency)
    client.force_login(bob)
    order(client, typed)
    topup = TopUp.objects.get()
    deliver(stripe.pay(topup.checkout_reference))
    topup.refresh_from_db()
    request_refund(by=staff, amount=minor // 10, reason="a tenth", idempotency_key="r", topup=topup)
    assert [one["amount"] for one in stripe.objects["refunds"].values()] == [at_stripe // 10]
    deliver(stripe.refund(topup.payment_reference, at_stripe // 5))
    topup.refresh_from_db()
    assert topup.refunded_minor == minor // 10 + minor // 5
    deliver(stripe.open_dispute(topup.payment_reference, at_stripe // 2, currency))
    topup.refresh_from_db()
    assert topup.disputed_minor == minor // 2
    assert balance(bob) == (minor - minor // 10 - minor // 5 - minor // 2) * CREDIT
    assert reconciliation.reconcile() == []


@pytest.mark.parametrize(("currency", "typed", "minor", "at_stripe", "shown"), AMOUNTS)
def test_staff_refund_what_they_type(client, bob, staff, stripe, sell, currency, typed, minor, at_stripe, shown):
    sell(currency)
    client.force_login(bob)
    order(client, typed)
    topup = TopUp.objects.get()
    deliver(stripe.pay(topup.checkout_reference))
    client.force_login(staff)
    url = reverse("admin:billing_topup_refund", args=[topup.pk])
    assert f'name="amount" value="{typed}"' in client.get(url).content.decode()
    tenth = str(Decimal(typed) / 10)
    sent = {"amount": tenth, "reason": "Duplicate", "idempotency_key": uuid4()}
    written = format_money(minor // 10, currency)
    assert f"{written} go back" in client.post(url, sent).content.decode()
    client.post(url, sent | {"confirmed": "true"})
    assert [one["amount"] for one in stripe.objects["refunds"].values()] == [at_stripe // 10]
    topup.refresh_from_db()
    assert topup.refunded_minor == minor // 10


def test_a_part_of_a_forint_is_taken_as_one_and_never_credited(client, bob, stripe, sell):
    sell("huf")
    client.force_login(bob)
    order(client, "500")
    topup = TopUp.objects.get()
    deliver(stripe.pay(topup.checkout_reference, amount_total=49_950))
    assert balance(bob) == 0
    assert "49950 huf" in PaymentEvent.objects.get().error
    deliver(stripe.pay(topup.checkout_reference, amount_total=50_000))
    topup.refresh_from_db()
    deliver(stripe.refund(topup.payment_reference, 49_950))
    topup.refresh_from_db()
    assert topup.refunded_minor == 500


@pytest.mark.parametrize(
    ("currency", "typed", "says"),
    [
        ("jpy", "500.5", "in steps of ¥1"),
        ("jpy", "99", "between ¥100 and ¥1,000,000"),
        ("kwd", "5.125", "in steps of KWD\u00a00.010"),
        ("kwd", "0.09", "between KWD\u00a00.100 and KWD\u00a01,000"),
        ("usd", "5.005", "in steps of $0.01"),
    ],
)
def test_what_cannot_be_paid_is_refused_in_the_units_of_the_currency(client, bob, stripe, sell, currency, typed, says):
    sell(currency)
    client.force_login(bob)
    response = order(client, typed)
    assert response.status_code == 422
    assert says in response.content.decode()
    assert stripe.requests == []


@pytest.mark.parametrize(
    ("currency", "step", "least", "buys"),
    [("jpy", "1", "100", 1), ("kwd", "0.010", "0.100", 1000), ("usd", "0.01", "1.00", 100)],
)
def test_the_page_asks_for_amounts_of_the_currency(client, bob, sell, currency, step, least, buys):
    sell(currency)
    seed_packages()
    client.force_login(bob)
    page = client.get(reverse("billing:buy")).content.decode()
    assert f'step="{step}"' in page
    assert f'min="{least}"' in page
    assert f'data-credits-per-unit="{buys}"' in page
    assert f"one {currency.upper()} buys {buys} credits" in page


def test_a_package_in_capitals_is_credited_like_any_other(client, bob, stripe):
    package = Package.objects.create(name="P", price_minor=500, currency="USD", credits_microcredits=CREDIT)
    topup = orders.start_topup(user=bob, offer=orders.offer_of_package(package), idempotency_key="k")
    assert asked(stripe) == (500, "usd")
    deliver(stripe.pay(topup.checkout_reference))
    assert balance(bob) == CREDIT


@pytest.mark.parametrize(("currency", "price", "field"), [("qqq", 500, "currency"), ("kwd", 5125, "price_minor")])
def test_a_package_that_nobody_could_pay_is_refused_in_forms(db, currency, price, field):
    package = Package(name="P", price_minor=price, currency=currency, credits_microcredits=CREDIT)
    with pytest.raises(ValidationError) as refused:
        package.full_clean()
    assert list(refused.value.message_dict) == [field]


def test_forms_store_the_code_in_small_letters(db):
    package = Package(name="P", price_minor=500, currency="JPY", credits_microcredits=CREDIT)
    package.full_clean()
    assert package.currency == "jpy"


def test_an_order_between_two_steps_is_refused_before_stripe_is_asked(bob, stripe):
    offer = orders.Offer(5125, "kwd", CREDIT)
    with pytest.raises(PaymentError, match=r"steps of KWD.0\.010"):
        orders.start_topup(user=bob, offer=offer, idempotency_key="k")
    assert stripe.requests == []


@pytest.mark.django_db(transaction=True)
def test_an_automatic_top_up_in_yen_charges_yen_and_says_so(bob, stripe, sell):
    sell("jpy")
    save_stripe_card(stripe, bob)
    fund(bob, BELOW)
    automatic = turn_on(bob, amount_minor=2_000, ceiling_minor=6_000)
    assert "charges ¥2,000 to" in automatic.consent_text
    assert "at most ¥6,000 in a calendar month" in automatic.consent_text
    answer(bob)
    run_tasks()
    (payment,) = stripe.objects["payment_intents"].values()
    assert (payment["amount"], payment["currency"]) == (2000, "jpy")
    assert "¥2,000" in mail.outbox[0].subject


@pytest.mark.django_db(transaction=True)
def test_what_was_agreed_to_in_dollars_is_not_charged_in_yen(bob, stripe, sell):
    save_stripe_card(stripe, bob)
    turn_on(bob, amount_minor=2_000, ceiling_minor=6_000)
    sell("jpy")
    spend_down(bob)
    run_tasks()
    assert stripe.objects["payment_intents"] == {}
    assert TopUp.objects.count() == 0
    assert not AutomaticTopUp.objects.get().is_on
    assert "the price has changed" in mail.outbox[0].subject
    assert "$20" in mail.outbox[0].body


def test_orders_in_another_currency_do_not_use_up_the_ceiling(bob, faults):
    for currency, amount in (("usd", 6_000), ("jpy", 2_000)):
        order = orders.store_order(
            bob,
            orders.Offer(amount, currency, CREDIT),
            currency,
            "sandbox",
            automatic_month_minor=amount,
            automatic_ceiling_minor=6_000,
        )
        orders.complete_topup(
            topup_id=order.pk,
            provider="sandbox",
            amount_minor=amount,
            currency=currency,
            payment_reference=currency,
        )
    assert automatic_topups.ordered_minor(user=bob, currency="jpy") == 2_000
    assert faults() == []


def test_the_spending_form_is_in_the_units_of_the_currency(client, bob, stripe, sell):
    sell("jpy")
    save_stripe_card(stripe, bob)
    client.force_login(bob)
    fields = {"below": "10", "package": "", "amount": "2000", "ceiling": "6000"}
    page = client.post(reverse("billing:set_automatic"), fields).content.decode()
    assert "charges ¥2,000 to" in page
    refused = client.post(reverse("billing:set_automatic"), fields | {"ceiling": "6000.5"})
    assert refused.status_code == 422
    assert "in steps of ¥1" in refused.content.decode()
    huge = client.post(reverse("billing:set_automatic"), fields | {"ceiling": "99999999999"})
    assert huge.status_code == 422


def test_the_spending_form_starts_empty_where_the_last_consent_was_in_another_currency(client, bob, stripe, sell):
    save_stripe_card(stripe, bob)
    turn_on(bob, amount_minor=2_000, ceiling_minor=6_000)
    Package.objects.create(name="Dollars", price_minor=500, currency="usd", credits_microcredits=CREDIT)
    Package.objects.create(name="Yen", price_minor=500, currency="jpy", credits_microcredits=CREDIT)
    client.force_login(bob)
    form = client.get(reverse("billing:spending")).context["automatic_form"]
    assert [str(form[name].value()) for name in ("amount", "ceiling")] == ["20.00", "60.00"]
    sell("jpy")
    page = client.get(reverse("billing:spending"))
    form = page.context["automatic_form"]
    assert [form[name].value() for name in ("amount", "ceiling")] == [None, None]
    assert [str(package) for package in form.fields["package"].queryset] == ["Yen"]
    assert "$0 of at most $60" in " ".join(page.content.decode().split())
