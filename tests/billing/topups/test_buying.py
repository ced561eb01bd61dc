"""Buying credits in the pages, through the sandbox provider."""

import socket
from typing import Any
from uuid import uuid4

import pytest
from django.urls import reverse

from billing.models import Package, PromotionCode, TopUp, TopUpState, Wallet
from billing.topups.packages import seed_packages
from tests.support.cast import CREDIT, at_once


@pytest.fixture
def buyer(client, bob):
    seed_packages()
    client.force_login(bob)
    return bob


def order(client, **fields):
    return client.post(reverse("billing:order"), {"idempotency_key": uuid4(), **fields})


def play(client, action):
    return client.post(reverse("billing:sandbox", args=[TopUp.objects.get().pk]), {"action": action}, follow=True)


def balance(user):
    return Wallet.objects.get(user=user).balance_microcredits


def package_id(client):
    page = client.get(reverse("billing:buy"))
    return next(package.pk for package in page.context["packages"] if package.bonus_microcredits)


def test_a_package_is_ordered_paid_and_credited_with_its_bonus(client, buyer, faults):
    response = order(client, package=package_id(client))
    topup = TopUp.objects.get()
    assert response["Location"].endswith(reverse("billing:sandbox", args=[topup.pk]))
    assert balance(buyer) == 0  # the order exists, nothing is credited yet
    page = play(client, "pay").content.decode()
    assert "2,100.00 credits were added" in page
    assert balance(buyer) == 2100 * CREDIT
    play(client, "pay")
    assert balance(buyer) == 2100 * CREDIT
    overview = client.get(reverse("billing:overview")).content.decode()
    assert "2,000.00" in overview
    assert "bonus" in overview
    assert faults() == []


def test_a_custom_amount_is_ordered_to_the_cent(client, buyer):
    order(client, amount="12.34")
    play(client, "pay")
    assert balance(buyer) == 1234 * CREDIT


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "Choose a package or enter an amount"),
        ({"amount": "0"}, "more than zero"),
        ({"amount": "-5"}, "more than zero"),
        ({"amount": "0.99"}, "between $1 and $1,000"),
        ({"amount": "1000.01"}, "between"),
        ({"amount": "9" * 30}, "Write an amount"),
        ({"amount": "12.505"}, "in steps of $0.01"),
        ({"amount": "ten"}, "Write an amount"),
        ({"amount": "NaN"}, "Write an amount"),
        ({"amount": "1e3000"}, "Write an amount"),
        ({"package": "99999"}, "valid choice"),
        ({"amount": "5", "idempotency_key": "x"}, "valid UUID"),
    ],
)
def test_an_order_that_makes_no_sense_says_so_and_orders_nothing(client, buyer, fields, message):
    response = order(client, **fields)
    assert response.status_code == 422
    assert message in response.content.decode()
    assert TopUp.objects.count() == 0


def test_a_double_click_orders_once_and_another_amount_under_the_same_key_is_refused(client, buyer):
    key = uuid4()
    first, second = order(client, amount="5", idempotency_key=key), order(client, amount="5", idempotency_key=key)
    assert first["Location"] == second["Location"]
    assert order(client, amount="6", idempotency_key=key).status_code == 409
    assert TopUp.objects.count() == 1


@pytest.mark.parametrize("other", ["another package", "the same money without it", "another amount"])
def test_another_order_under_the_same_key_is_a_409_page(client, buyer, other):
    first, second = Package.objects.order_by("pk")[:2]
    key = uuid4()
    answer = order(client, package=first.pk, idempotency_key=key)
    bodies: dict[str, dict[str, Any]] = {
        "another package": {"package": second.pk},
        "the same money without it": {"amount": f"{first.price_minor / 100:.2f}"},
        "another amount": {"amount": "7"},
    }
    refused = order(client, idempotency_key=key, **bodies[other])
    assert (refused.status_code, "already sent" in refused.content.decode()) == (409, True)
    assert order(client, package=first.pk, idempotency_key=key)["Location"] == answer["Location"]
    assert TopUp.objects.get().amount_minor == first.price_minor


def test_a_retry_after_the_package_got_another_price_is_the_same_order(client, buyer):
    package, key = Package.objects.order_by("pk")[0], uuid4()
    answer = order(client, package=package.pk, idempotency_key=key)
    Package.objects.filter(pk=package.pk).update(price_minor=999)
    assert order(client, package=package.pk, idempotency_key=key)["Location"] == answer["Location"]
    assert TopUp.objects.get().amount_minor == package.price_minor


def test_the_same_answer_comes_also_after_the_order_was_paid(client, buyer):
    key = uuid4()
    answer = order(client, amount="5", idempotency_key=key)
    play(client, "pay")
    assert order(client, amount="5", idempotency_key=key)["Location"] == answer["Location"]
    assert balance(buyer) == 500 * CREDIT


def test_the_key_of_one_customer_is_nothing_to_another(client, buyer, charlie):
    key = uuid4()
    order(client, amount="5", idempotency_key=key)
    client.force_login(charlie)
    assert order(client, amount="6", idempotency_key=key).status_code == 302
    assert sorted(TopUp.objects.values_list("user__email", flat=True)) == ["bob@example.com", "charlie@example.com"]


def test_an_order_whose_checkout_was_lost_and_has_ended_shows_its_page(client, buyer):
    key = uuid4()
    order(client, amount="5", idempotency_key=key)
    TopUp.objects.update(checkout_url="", state=TopUpState.CANCELLED)
    answer = order(client, amount="5", idempotency_key=key)
    assert answer["Location"] == reverse("billing:topup", args=[TopUp.objects.get().pk])


@pytest.mark.django_db(transaction=True)
def test_a_double_click_at_the_same_moment_orders_once(client, buyer):
    key = uuid4()
    responses = at_once(4, lambda _n: order(client, amount="5", idempotency_key=key))
    assert {response.status_code for response in responses} == {302}
    assert TopUp.objects.count() == 1


@pytest.mark.parametrize(
    ("action", "words"),
    [("pending", "still working on it"), ("fail", "Nothing was charged"), ("cancel", "Cancelled")],
)
def test_the_return_page_says_what_the_ledger_knows(client, buyer, action, words):
    order(client, amount="5")
    assert words in play(client, action).content.decode()
    assert balance(buyer) == 0


def test_the_return_page_believes_no_address(client, buyer):
    order(client, amount="5")
    page = client.get(reverse("billing:topup", args=[TopUp.objects.get().pk]) + "?paid=1").content.decode()
    assert "Waiting for the payment" in page


def test_a_dispute_and_its_end(client, buyer, faults):
    order(client, amount="5")
    play(client, "pay")
    play(client, "dispute")
    assert balance(buyer) == 0
    play(client, "win")
    assert balance(buyer) == 500 * CREDIT
    assert faults() == []


def test_the_sandbox_refuses_what_makes_no_sense(client, buyer):
    order(client, amount="5")
    assert play(client, "dispute").status_code == 409
    assert play(client, "nonsense").status_code == 409


def test_a_cancelled_order_is_not_paid_at_its_old_address(client, buyer, faults):
    order(client, amount="5")
    address = reverse("billing:sandbox", args=[TopUp.objects.get().pk])
    client.post(address, {"action": "cancel"})
    shown, paid = client.get(address), client.post(address, {"action": "pay"})
    for page in (shown, paid):
        assert page.status_code == 410
        assert "This order was cancelled" in page.content.decode()
        assert 'name="action"' not in page.content.decode()
    assert (TopUp.objects.get().state, balance(buyer)) == (TopUpState.CANCELLED, 0)
    assert faults() == []


def test_an_order_that_was_refused_once_can_still_be_paid(client, buyer):
    order(client, amount="5")
    play(client, "fail")
    play(client, "pay")
    assert balance(buyer) == 500 * CREDIT


def test_the_sandbox_does_not_exist_where_it_is_switched_off(client, buyer, settings):
    order(client, amount="5")
    settings.PAYMENT_PROVIDERS = {}
    assert play(client, "pay").status_code == 404
    assert order(client, amount="5").status_code == 503
    assert balance(buyer) == 0


def test_production_knows_no_sandbox():
    from config.settings import base

    assert "sandbox" not in base.PAYMENT_PROVIDERS


def test_charlie_gets_404_for_an_order_of_bob(client, buyer, charlie):
    order(client, amount="5")
    client.force_login(charlie)
    topup = TopUp.objects.get()
    for name in ("topup", "sandbox"):
        assert client.get(reverse(f"billing:{name}", args=[topup.pk])).status_code == 404
    assert play(client, "pay").status_code == 404


def test_a_code_is_redeemed_in_the_page(client, buyer):
    PromotionCode.objects.create(code="WELCOME", credits_microcredits=5 * CREDIT)
    response = client.post(reverse("billing:redeem"), {"code": "welcome"}, follow=True)
    assert balance(buyer) == 5 * CREDIT
    assert response.status_code == 200
    again = client.post(reverse("billing:redeem"), {"code": "welcome"})
    assert again.status_code == 422
    assert "already" in again.content.decode()


def test_a_double_click_on_a_code_shows_that_it_worked(client, buyer):
    PromotionCode.objects.create(code="WELCOME", credits_microcredits=5 * CREDIT)
    PromotionCode.objects.create(code="OTHER", credits_microcredits=5 * CREDIT)
    key = client.get(reverse("billing:buy")).context["new_key"]
    form = {"code": "welcome", "idempotency_key": key}
    assert [client.post(reverse("billing:redeem"), form).status_code for _ in range(2)] == [302, 302]
    other = client.post(reverse("billing:redeem"), form | {"code": "other"})
    assert (other.status_code, "Send it again" in other.content.decode()) == (409, True)
    assert balance(buyer) == 5 * CREDIT
    assert (
        client.post(reverse("billing:redeem"), form | {"code": "other", "idempotency_key": "\x00" * 99}).status_code
        == 302
    )


def redeem(client, code, **where):
    return client.post(reverse("billing:redeem"), {"code": code}, **where)


def test_guessing_codes_is_stopped_and_says_how_long(client, buyer, settings):
    settings.CODE_TRIES_PER_USER = "3/h"
    PromotionCode.objects.create(code="WELCOME", credits_microcredits=5 * CREDIT)
    assert [redeem(client, f"GUESS{n}").status_code for n in range(3)] == [422] * 3
    answer = redeem(client, "WELCOME")
    assert answer.status_code == 429
    wait = int(answer["Retry-After"])
    assert 0 < wait <= 3600
    minutes = -(-wait // 60)
    assert f"Too many tries. Wait {minutes} minute" in answer.content.decode()
    assert 'value="WELCOME"' in answer.content.decode()
    assert balance(buyer) == 0


def test_guessing_codes_with_many_accounts_from_one_address_is_stopped(client, buyer, charlie, settings):
    settings.CODE_TRIES_PER_ADDRESS = "4/h"
    tries = [redeem(client, "GUESS", REMOTE_ADDR="192.0.2.7").status_code for _n in range(3)]
    client.force_login(charlie)
    tries += [redeem(client, "GUESS", REMOTE_ADDR="192.0.2.7").status_code for _n in range(2)]
    assert tries == [422, 422, 422, 422, 429]
    assert redeem(client, "GUESS", REMOTE_ADDR="192.0.2.8").status_code == 422


@pytest.mark.parametrize("others_fail_open", [False, True])
def test_without_a_counter_no_code_is_taken(client, buyer, settings, others_fail_open):
    settings.RATELIMIT_FAIL_OPEN = others_fail_open
    PromotionCode.objects.create(code="WELCOME", credits_microcredits=5 * CREDIT)
    with socket.socket() as nobody:  # bound, and not listening: whoever calls is refused
        nobody.bind(("127.0.0.1", 0))
        settings.CACHES = {
            "default": {
                **settings.CACHES["default"],
                "LOCATION": f"redis://127.0.0.1:{nobody.getsockname()[1]}/0",
            }
        }
        answer = redeem(client, "WELCOME")
    assert (answer.status_code, "cannot be redeemed just now" in answer.content.decode()) == (503, True)
    assert balance(buyer) == 0


def test_buying_needs_a_log_in(client, db):
    assert client.get(reverse("billing:buy")).status_code == 302
    assert client.post(reverse("billing:order")).status_code == 302
