"""The inbox of approvals: who decides what, once, with a reason, never for oneself, and within seven days."""

import csv
import re
from datetime import timedelta
from uuid import uuid4

import pytest
from django.urls import reverse
from django.utils import timezone

from accounts.models import AuditEvent
from billing.models import Adjustment, Refund, Wallet
from tests.billing.grants import spend
from tests.billing.orders import complete, order
from tests.billing.refunds.adjusting import adjust
from tests.billing.refunds.refunding import ask
from tests.support.cast import CREDIT

pytestmark = pytest.mark.usefixtures("without_answers")
INBOX = "admin:approvals"


@pytest.fixture(autouse=True)
def _nobody_moves_anything_alone(settings):
    settings.REFUND_APPROVAL_MICROCREDITS = 0
    settings.PAYMENT_PROVIDERS = {"sandbox": "billing.topups.sandbox.SandboxProvider"}


@pytest.fixture
def paid(bob):
    topup = order(bob, 2500, provider="sandbox")
    complete(topup, provider="sandbox")
    topup.refresh_from_db()
    return topup


def text_of(answer):
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", answer.content.decode()))


def path_of(row):
    kind = "refund" if isinstance(row, Refund) else "adjustment"
    return reverse("admin:approval", args=[kind, row.pk])


def balance(user):
    return Wallet.objects.get(user=user).balance_microcredits


@pytest.mark.parametrize("what", ["payment", "answer", "credits"])
def test_it_shows_before_and_after_and_is_done_once_under_a_double_click(
    client, fred, gina, alice, bob, paid, faults, what
):
    row = {
        "payment": lambda: ask(fred, 1000, topup=paid),
        "answer": lambda: ask(fred, 100, hold=spend(alice, 10)),
        "credits": lambda: adjust(fred, alice, 750),
    }[what]()
    customer = bob if what == "payment" else alice
    before = balance(customer)
    client.force_login(gina)
    page = text_of(client.get(path_of(row)))
    words = {
        "payment": ("2,500.00 -1,000.00 1,500.00", "Approve: $10 back", "+$10"),
        "answer": ("+0.0001",),
        "credits": ("850.00",),
    }
    for word in words[what]:
        assert word in page, word
    for _click in range(2):
        page = text_of(client.post(path_of(row), {"decision": "approve", "note": "Looked"}, follow=True))
        assert f"Request for {customer.email}: done" in page
        assert "decided already" not in page
    gained = {"payment": -1000 * CREDIT, "answer": 100, "credits": 750 * CREDIT}[what]
    assert balance(customer) == before + gained
    row.refresh_from_db()
    assert (row.state, row.decided_by) == ("done", gina)
    assert AuditEvent.objects.filter(actor=gina, subject=customer, details__contains={}).exists()
    assert faults() == []


def test_a_refusal_wants_a_reason_and_moves_nothing(client, fred, gina, alice, faults):
    row = adjust(fred, alice, 750)
    client.force_login(gina)
    assert "Say why you refuse" in text_of(client.post(path_of(row), {"decision": "reject"}))
    assert "Say why you refuse" in text_of(client.post(path_of(row), {"decision": "reject", "note": "  "}))
    for _click in range(2):
        page = text_of(client.post(path_of(row), {"decision": "reject", "note": "Not agreed"}, follow=True))
        assert "Request for alice@example.com: rejected" in page
    assert balance(alice) == 100 * CREDIT
    assert AuditEvent.objects.get(action="adjustment rejected").details["decision"] == "Not agreed"
    assert "decided already" in text_of(client.post(path_of(row), {"decision": "approve"}, follow=True))
    assert Adjustment.objects.get().state == "rejected"
    assert faults() == []


@pytest.mark.parametrize("decision", ["", "maybe"])
def test_no_decision_decides_nothing(client, fred, gina, alice, decision):
    row = adjust(fred, alice, 5)
    client.force_login(gina)
    client.post(path_of(row), {"decision": decision, "note": "x"})
    assert Adjustment.objects.get().state == "waiting"


def test_nobody_decides_their_own_request_or_about_their_own_wallet(client, fred, gina, sue, alice):
    own = adjust(fred, alice, 5)
    about_me = adjust(gina, fred, 5)
    client.force_login(fred)
    for row in (own, about_me):
        page = client.get(path_of(row)).content.decode()
        assert "somebody else decides" in page
        assert 'name="decision"' not in page
        answer = text_of(client.post(path_of(row), {"decision": "approve"}, follow=True))
        assert "Somebody else must" in answer
    assert set(Adjustment.objects.values_list("state", flat=True)) == {"waiting"}


def test_support_sees_refunds_and_decides_on_none_and_operators_see_nothing(client, sue, fred, olga, alice):
    hold = spend(alice, 10)
    refund, adjustment = ask(fred, 10, hold=hold), adjust(fred, alice, 5)
    client.force_login(sue)
    page = client.get(path_of(refund)).content.decode()
    assert "Refund an answer" in page
    assert 'name="decision"' not in page
    assert client.get(path_of(adjustment)).status_code == 404
    assert client.post(path_of(refund), {"decision": "approve"}).status_code == 403
    refund.refresh_from_db()
    assert refund.state == "waiting"
    client.force_login(olga)
    assert client.get(reverse(INBOX)).status_code == 403
    assert client.post(path_of(refund), {"decision": "approve"}).status_code == 403


def test_what_has_lapsed_is_shown_so_and_cannot_be_approved(client, fred, gina, alice):
    row = adjust(fred, alice, 5)
    Adjustment.objects.update(requested_at=timezone.now() - timedelta(days=7))
    client.force_login(gina)
    page = client.get(path_of(row)).content.decode()
    assert "Lapsed" in page
    assert 'name="decision"' not in page
    assert "lapsed" in text_of(client.post(path_of(row), {"decision": "approve"}, follow=True))
    assert balance(alice) == 100 * CREDIT


def test_what_is_to_be_taken_must_still_be_there(client, fred, gina, alice, faults):
    row = adjust(fred, alice, -80)
    spend(alice, 1_000_000)
    client.force_login(gina)
    assert "At most 59" in text_of(client.post(path_of(row), {"decision": "approve"}, follow=True))
    assert Adjustment.objects.get().state == "waiting"


def test_the_list_is_filtered_ordered_and_exported(client, fred, gina, alice, paid):
    first, second = adjust(fred, alice, 5), ask(gina, 100, topup=paid)
    done = adjust(fred, alice, 7)
    client.force_login(gina)
    client.post(path_of(done), {"decision": "approve"})

    def shown(**query):
        page = client.get(reverse(INBOX), query).content.decode()
        return re.findall(r"[+-][\d.,]+(?=</td>)", page)

    assert shown() == ["+5.00", "-100.00", "+7.00"]
    assert shown(state="waiting") == ["+5.00", "-100.00"]
    assert shown(state="approved") == ["+7.00"]
    assert shown(kind="refund") == shown(asked="me") == ["-100.00"]
    assert shown(asked="others", kind="adjustment", state="waiting") == ["+5.00"]
    assert shown(state="nonsense") == shown()
    Refund.objects.filter(pk=second.pk).update(reason="=1+1")
    answer = client.get(reverse(INBOX), {"format": "csv"})
    rows = list(csv.DictReader(answer.content.decode().splitlines()))
    assert [row["credits"] for row in rows] == ["+5.00", "-100.00", "+7.00"]
    assert rows[1]["reason"] == "'=1+1"
    assert first.pk != second.pk


def test_what_is_not_there_is_404(client, fred, alice):
    client.force_login(fred)
    adjust(fred, alice, 5)
    for kind, number in (("refund", uuid4()), ("adjustment", uuid4()), ("nonsense", Adjustment.objects.get().pk)):
        assert client.get(reverse("admin:approval", args=[kind, number])).status_code == 404


def test_it_takes_few_queries_however_much_waits(client, fred, gina, alice, paid, django_assert_max_num_queries):
    for number in range(20):
        adjust(fred, alice, number + 1)
        ask(fred, 1, topup=paid)
    client.force_login(gina)
    with django_assert_max_num_queries(14):
        page = client.get(path_of(Adjustment.objects.last()))
    assert len(page.content) < 300_000
