"""The start page: each role sees what waits for it, and nothing that it may not see."""

import re
from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone

from billing.models import PaymentEvent, Proof, Refund
from inference.models import CatalogueModel, Generation
from tests.billing.grants import spend
from tests.billing.orders import complete, disputed, order
from tests.billing.refunds.adjusting import adjust
from tests.billing.refunds.refunding import ask as ask_refund
from tests.inference.asking import ask
from tests.support.cast import UserFactory, begin

PLACES = {"proof", "stuck", "events", "disputes", "approvals", "failed", "models"}
SEES = {
    "sue": {"stuck"},
    "fred": {"proof", "events", "disputes", "approvals", "failed"},
    "olga": {"stuck", "models"},
    "staff": PLACES,
}


@pytest.fixture
def trouble(alice, bob, sue, gina, catalogue):
    """One of everything that can wait."""
    ask_refund(sue, 10, hold=spend(alice, 10))
    topup = order(bob, 500)
    complete(topup)
    disputed(topup, 100)
    Refund.objects.create(
        topup=topup, amount=200, reason="Duplicate", idempotency_key="f", state="failed", error="Card closed",
        requested_by=gina, decided_by=gina, decided_at=timezone.now(),
    )  # fmt: skip
    PaymentEvent.objects.create(provider="stripe", event_id="e", type="paid", payload={}, error="KeyError")
    PaymentEvent.objects.update(received_at=timezone.now() - timedelta(hours=1))
    Proof.objects.create(
        last_entry=1, entries_count=1, faults_count=1, first_faults=["wallet 7 is wrong"], started_at=timezone.now()
    )
    CatalogueModel.objects.exclude(pk=catalogue.pk).update(is_active=False)
    generation = ask(alice, catalogue)
    begin(generation)
    Generation.objects.update(heartbeat_at=timezone.now() - timedelta(hours=1))
    CatalogueModel.objects.update(unavailable_reason="Its files are gone.")


def start(client, user):
    client.force_login(user)
    return client.get(reverse("admin:index")).content.decode()


@pytest.mark.parametrize("role", list(SEES))
def test_each_role_sees_what_waits_for_it(client, request, trouble, role):
    page = start(client, request.getfixturevalue(role))
    assert set(re.findall(r'<section class="module" id="([a-z]+)"', page)) == SEES[role]
    assert set(re.findall(r'<a href="#([a-z]+)">', page)) - {"content-start"} == SEES[role]
    assert ("alice@example.com" in page) == (role != "olga")
    assert ("1 of yours waits" in page) == (role == "sue")


@pytest.mark.parametrize("role", list(SEES))
def test_where_nothing_waits_it_says_so(client, request, catalogue, role):
    CatalogueModel.objects.exclude(pk=catalogue.pk).update(is_active=False)
    page = start(client, request.getfixturevalue(role))
    assert "Nothing waits for you." in page
    assert "<section" not in page


def test_it_takes_few_queries_however_much_waits(
    client, staff, sue, trouble, alice, bob, django_assert_max_num_queries
):
    client.force_login(staff)
    hold = spend(alice, 100)
    for number in range(15):
        ask_refund(sue, 1, hold=hold)
        complete(topup := order(bob, 100 + number))
        disputed(topup, 1)
    with django_assert_max_num_queries(20):
        client.get(reverse("admin:index"))


def test_what_i_asked_for_waits_for_others_and_a_lapsed_request_for_nobody(client, fred, gina, alice, settings):
    settings.REFUND_APPROVAL_MICROCREDITS = 0
    waiting = adjust(fred, alice, 5)
    assert "1 of yours waits" in start(client, fred)
    assert "Approvals to decide" in start(client, gina)
    type(waiting).objects.update(requested_at=timezone.now() - timedelta(days=8))
    assert "Nothing waits for you." in start(client, gina)


def test_my_last_actions_are_mine_alone(client, fred, gina, alice):
    adjust(fred, alice, 5)
    assert "credits adjusted" in start(client, fred)
    assert "credits adjusted" not in start(client, gina)


def test_somebody_without_a_role_sees_an_empty_page(client, catalogue):
    nobody = UserFactory.create(email="nobody@example.com", is_staff=True)
    page = start(client, nobody)
    assert "Nothing waits for you." in page
    assert 'id="find"' not in page
