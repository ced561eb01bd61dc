"""Refunds by staff: never above the charge, exactly once, with a reason, a second person, a notice and a record."""

import time
from uuid import uuid4

import pytest
from django.core import mail
from django.db import IntegrityError
from django.urls import reverse
from django.utils import timezone

from accounts.models import AuditEvent
from billing.models import LedgerEntry, Refund, RefundState, Wallet
from billing.refunds import payouts, requests
from billing.refunds.requests import RefundRefused
from billing.topups.payments import PaymentError
from tests.billing.grants import give, spend
from tests.billing.ledger.attacks import refused
from tests.billing.orders import complete, disputed, order
from tests.billing.refunds.refunding import ask
from tests.support.cast import CREDIT, UserFactory, at_once
from tests.support.databases.owner import as_owner
from tests.support.databases.queue import run_tasks

pytestmark = pytest.mark.usefixtures("without_answers")


@pytest.fixture
def charged(bob):
    """An answer that bob paid 420 microcredits for, out of 1,000."""
    give(bob, 1000)
    return spend(bob, 10)


@pytest.fixture
def paid(bob, settings):
    settings.PAYMENT_PROVIDERS = {"sandbox": "billing.topups.sandbox.SandboxProvider"}
    topup = order(bob, 500, provider="sandbox")
    complete(topup, provider="sandbox")
    topup.refresh_from_db()
    return topup


def balance(user):
    return Wallet.objects.get(user=user).balance_microcredits


def test_an_answer_is_refunded_in_part_and_then_in_full(
    bob, staff, charged, faults, django_capture_on_commit_callbacks
):
    with django_capture_on_commit_callbacks(execute=True):
        refund = ask(staff, 100, hold=charged)
    assert (refund.state, balance(bob)) == (RefundState.DONE, 680)
    run_tasks()
    assert "0.0001 credits" in mail.outbox[0].subject
    assert mail.outbox[0].to == ["bob@example.com"]
    ask(staff, 320, hold=charged)
    assert balance(bob) == 1000
    actions = AuditEvent.objects.filter(subject=bob, actor=staff).values_list("action", flat=True)
    assert sorted(actions) == ["refund done", "refund done", "refund requested", "refund requested"]
    assert faults() == []


@pytest.mark.parametrize("amount", [0, -1, 421, 10**18, 1.5, "1", None])
def test_an_amount_that_cannot_be_refunded_says_the_most(bob, staff, charged, amount):
    with pytest.raises(RefundRefused, match=r"At most 0\.00042 credits"):
        ask(staff, amount, hold=charged)
    assert (Refund.objects.count(), balance(bob)) == (0, 580)


def test_a_refund_of_a_refund_is_refused(bob, staff, charged):
    ask(staff, 420, hold=charged)
    with pytest.raises(RefundRefused, match="At most"):
        ask(staff, 1, hold=charged)


def test_a_refund_needs_a_reason(staff, charged):
    with pytest.raises(RefundRefused, match="why"):
        ask(staff, 1, hold=charged, reason="   ")


def test_a_double_click_refunds_once_and_another_amount_under_the_key_is_refused(bob, staff, charged):
    assert ask(staff, 100, key="k", hold=charged).pk == ask(staff, 100, key="k", hold=charged).pk
    with pytest.raises(RefundRefused, match="already sent"):
        ask(staff, 200, key="k", hold=charged)
    assert balance(bob) == 680


@pytest.mark.django_db(transaction=True)
def test_refunds_at_the_same_moment_never_exceed_the_charge(bob, staff, charged, faults):
    results = at_once(6, lambda _n: ask(staff, 200, hold=charged))
    assert sum(isinstance(result, Refund) for result in results) == 2
    assert balance(bob) == 980
    assert faults() == []


@pytest.mark.django_db(transaction=True)
def test_a_second_refund_while_the_first_is_decided_on_waits_for_it(bob, staff, charged, faults, monkeypatch):
    refundable_amount = requests.refundable_amount
    monkeypatch.setattr(requests, "refundable_amount", lambda **what: (refundable_amount(**what), time.sleep(0.2))[0])
    people = [staff, UserFactory.create(email="other-staff@example.com", is_staff=True, is_superuser=True)]
    results = at_once(
        2, lambda n: ask(people[n], 300, hold=charged)
    )  # one person's requests wait for each other anyway
    assert {type(result) for result in results} == {Refund, RefundRefused}
    assert (Refund.objects.count(), balance(bob)) == (1, 880)
    assert faults() == []


@pytest.mark.django_db(transaction=True)
def test_the_same_refund_sent_at_the_same_moment_refunds_once(bob, staff, charged, faults):
    at_once(4, lambda _n: ask(staff, 200, key="same", hold=charged))
    assert balance(bob) == 780
    assert LedgerEntry.objects.filter(kind="refund").count() == 1
    assert faults() == []


def test_a_large_refund_waits_for_a_second_person(bob, staff, charged, settings, faults):
    settings.REFUND_APPROVAL_MICROCREDITS = 100
    other = UserFactory.create(email="other-staff@example.com", is_staff=True, is_superuser=True)
    refund = ask(staff, 300, hold=charged)
    assert (refund.state, balance(bob)) == (RefundState.WAITING, 580)
    with pytest.raises(RefundRefused, match="At most"):  # what waits counts
        ask(staff, 121, hold=charged)
    with pytest.raises(RefundRefused, match="Somebody else"):
        requests.decide_refund(refund=refund, by=staff, is_approved=True)
    requests.decide_refund(refund=refund, by=other, is_approved=True)
    assert balance(bob) == 880
    with pytest.raises(RefundRefused, match="decided already"):
        requests.decide_refund(refund=refund, by=other, is_approved=False)
    assert faults() == []


def test_a_rejected_refund_moves_nothing_and_frees_its_amount(bob, staff, charged, settings):
    settings.REFUND_APPROVAL_MICROCREDITS = 100
    other = UserFactory.create(email="other-staff@example.com", is_staff=True)
    refund = ask(staff, 420, hold=charged)
    assert requests.decide_refund(refund=refund, by=other, is_approved=False).state == RefundState.REJECTED
    assert balance(bob) == 580
    assert requests.refundable_amount(hold=charged) == 420


@pytest.mark.django_db(transaction=True)
def test_two_people_deciding_at_once_decide_once(bob, staff, charged, settings, faults):
    settings.REFUND_APPROVAL_MICROCREDITS = 100
    others = [UserFactory.create(is_staff=True) for _ in range(4)]
    refund = ask(staff, 300, hold=charged)
    results = at_once(4, lambda n: requests.decide_refund(refund=refund, by=others[n], is_approved=True))
    assert sum(isinstance(result, RefundRefused) for result in results) == 3
    assert balance(bob) == 880
    assert faults() == []


def test_a_payment_is_refunded_and_its_credits_go_back(bob, staff, paid, faults):
    ask(staff, 200, topup=paid)
    paid.refresh_from_db()
    assert (paid.refunded_minor, balance(bob)) == (200, 300 * CREDIT)
    with pytest.raises(RefundRefused, match=r"At most \$3"):
        ask(staff, 301, topup=paid)
    ask(staff, 300, topup=paid)
    assert balance(bob) == 0
    assert faults() == []


def test_what_is_disputed_cannot_be_refunded_too(bob, staff, paid):
    topups_dispute(paid)
    with pytest.raises(RefundRefused, match=r"At most \$0"):
        ask(staff, 1, topup=paid)


def topups_dispute(topup):
    from billing.topups import orders

    orders.set_disputed(topup_id=topup.pk, provider=topup.provider, disputed_minor=topup.amount_minor)


def test_a_provider_that_is_away_leaves_the_refund_approved_until_it_is_back(bob, staff, paid, monkeypatch, faults):
    from billing.topups.sandbox import SandboxProvider

    def refuse(*_args):
        raise PaymentError("The payment service cannot be reached.")

    with monkeypatch.context() as away:
        away.setattr(SandboxProvider, "refund", refuse)
        refund = ask(staff, 200, topup=paid)
    assert (refund.state, refund.error) == (RefundState.APPROVED, "The payment service cannot be reached.")
    assert balance(bob) == 500 * CREDIT
    assert payouts.send_approved_refunds() == 0  # not yet
    Refund.objects.update(next_try_at=timezone.now())
    assert [payouts.send_approved_refunds(), payouts.send_approved_refunds()] == [1, 0]
    assert balance(bob) == 300 * CREDIT
    assert faults() == []


def test_the_audit_log_cannot_be_changed(staff, charged):
    ask(staff, 100, hold=charged)
    refused(lambda: AuditEvent.objects.update(action="nothing"))
    refused(lambda: AuditEvent.objects.all().delete())
    refused(lambda: as_owner("UPDATE accounts_auditevent SET action = 'nothing'"), error=IntegrityError)
    refused(lambda: as_owner("DELETE FROM accounts_auditevent"), error=IntegrityError)


def test_staff_refunds_in_the_admin_in_two_steps(client, bob, staff, charged, faults):
    client.force_login(staff)
    url = reverse("admin:billing_hold_refund", args=[charged.pk])
    assert url in client.get(reverse("admin:billing_hold_change", args=[charged.pk])).content.decode()
    assert "0.00042" in client.get(url).content.decode()
    fields = {"amount": "0.0001", "reason": "Answer failed or unusable", "idempotency_key": uuid4()}
    assert "0.0001 credits go back to bob@example.com" in client.post(url, fields).content.decode()
    assert balance(bob) == 580  # the preview moves nothing
    for _ in range(2):
        assert client.post(url, fields | {"confirmed": "true"}).status_code == 302
    assert balance(bob) == 680
    for wrong in ({"amount": "99"}, {"amount": "-1"}, {"amount": "0.00000001"}, {"amount": "x"}, {"reason": ""}):
        page = client.post(url, fields | {"confirmed": "true", "idempotency_key": uuid4()} | wrong)
        assert page.status_code == 200
        assert "errorlist" in page.content.decode()
    assert balance(bob) == 680
    assert client.get(reverse("admin:billing_refund_changelist")).status_code == 200
    assert faults() == []


def test_staff_without_the_permission_cannot_refund(client, charged, bob):
    clerk = UserFactory.create(email="clerk@example.com", is_staff=True)
    for user in (clerk, bob):
        client.force_login(user)
        response = client.post(reverse("admin:billing_hold_refund", args=[charged.pk]), {"amount": "1"})
        assert response.status_code in (302, 403)
    assert Refund.objects.count() == 0


def test_a_second_person_approves_in_the_admin(client, bob, staff, charged, settings):
    settings.REFUND_APPROVAL_MICROCREDITS = 100
    refund = ask(staff, 300, hold=charged)
    action = {"action": "approve", "_selected_action": [str(refund.pk)]}
    client.force_login(staff)
    client.post(reverse("admin:billing_refund_changelist"), action)
    assert balance(bob) == 580
    client.force_login(UserFactory.create(email="boss@example.com", is_staff=True, is_superuser=True))
    client.post(reverse("admin:billing_refund_changelist"), action)
    assert balance(bob) == 880


def test_a_disputed_bank_order_still_adds_up(bob, faults):
    topup = order(bob)
    complete(topup)
    disputed(topup, 500)
    assert faults() == []
