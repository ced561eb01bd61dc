"""A customer on one page: what each role sees there, what it may do there, and that nothing is done twice."""

import re
from datetime import timedelta
from uuid import uuid4

import pytest
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts.api_keys import create_key
from accounts.models import AuditEvent, Scope
from backoffice.models import Note
from billing.closing import close_account
from billing.models import Refund
from billing.refunds import requests
from inference.models import Generation
from tests.billing.orders import complete, disputed, order
from tests.inference.asking import ask
from tests.support.cast import CREDIT, answered_talk, begin
from tests.support.mailbox import read_mails

ROLES = ("sue", "fred", "olga", "staff")


def text_of(answer):
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", answer.content.decode()))


def page_of(user):
    return reverse("admin:customer", args=[user.pk])


@pytest.fixture
def history(alice, catalogue, staff):
    """Some of everything in alice's past."""
    answered_talk(alice, catalogue)
    topup = order(alice, 500, bonus=50 * CREDIT)
    complete(topup)
    create_key(user=alice, name="laptop", scopes=[Scope.CHAT])
    requests.request_refund(
        by=staff, amount=100, reason="Duplicate", idempotency_key="k", hold=Generation.objects.get().hold
    )
    return topup


@pytest.mark.parametrize("role", ROLES)
def test_each_role_sees_and_may_do_just_what_is_its_own(client, request, alice, history, role):
    client.force_login(request.getfixturevalue(role))
    answer = client.get(page_of(alice))
    if role == "olga":
        assert answer.status_code == 403
        return
    page = answer.content.decode()
    seen = {
        "Wallet", "Answers", "Ledger entries", "Payments", "API keys", "Open log-ins", "Audit", "Internal notes",
    }  # fmt: skip
    headings = set(re.findall(r"<h2>([^<]*)</h2>", page)) - {"Actions"}
    hidden = {"sue": {"Audit"}, "fred": {"Open log-ins"}, "staff": set()}[role]
    assert headings == seen - hidden
    may = {name for name in ("grant", "adjust", "refund", "suspend", "end-logins") if f'/{name}/"' in page}
    money, access = {"grant", "adjust"}, {"suspend", "end-logins"}
    assert may == {"sue": {"refund"} | access, "fred": {"refund"} | money, "staff": {"refund"} | money | access}[role]
    assert bool(re.search(r"/topup/[^/]*/refund/", page)) == (role != "sue")


def test_it_says_what_there_is_in_credits_and_not_what_was_written(client, staff, alice, history, catalogue):
    disputed(history, 100)
    client.force_login(staff)
    text = text_of(client.get(page_of(alice)))
    for words in (
        "alice@example.com",
        "since",
        "649.99",
        "$5",
        "500 + 50",
        "Disputed",
        "laptop",
        "given back",
        "20 in, 3 out",
    ):
        assert words in text, words
    assert "secret" not in text


def test_it_takes_a_fixed_number_of_queries(client, staff, alice, catalogue, django_assert_max_num_queries):
    client.force_login(staff)
    answered_talk(alice, catalogue)
    for number in range(12):
        complete(order(alice, 100 + number))
        answered_talk(alice, catalogue)
        create_key(user=alice, name=f"k{number}", scopes=[Scope.CHAT])
        Note.objects.create(customer=alice, author=staff, text="x", form_id=uuid4())
    with django_assert_max_num_queries(26):
        client.get(page_of(alice))


def test_refunds_that_wait_and_that_failed_are_shown(client, fred, sue, alice, history, catalogue):
    hold = Generation.objects.get().hold
    requests.request_refund(by=sue, amount=50, reason="Duplicate", idempotency_key="w", hold=hold)
    Refund.objects.create(
        topup=history, amount=200, reason="Duplicate", idempotency_key="f", state="failed", error="Card closed",
        requested_by=fred, decided_by=fred, decided_at=timezone.now(),
    )  # fmt: skip
    client.force_login(fred)
    text = text_of(client.get(page_of(alice)))
    assert "Refund waits" in text
    assert "Refund failed $2 Card closed" in text


# Notes


def test_a_note_is_written_once_and_leaves_its_row_and_goes_with_the_account(client, sue, bob):
    client.force_login(sue)
    sent = {"form_id": uuid4(), "text": "Wants <b>invoices</b> by mail"}
    for _click in range(2):
        page = client.post(page_of(bob), sent, follow=True).content.decode()
    assert "Wants &lt;b&gt;invoices&lt;/b&gt; by mail" in page
    assert Note.objects.count() == AuditEvent.objects.filter(action="note written", subject=bob).count() == 1
    assert "invoices" not in str(AuditEvent.objects.get(action="note written").details)
    close_account(user=bob, forfeits_microcredits=0)
    assert not Note.objects.exists()


@pytest.mark.parametrize("text", ["", "  ", "x" * 2001, "a\x00b"])
def test_a_note_that_is_none_is_refused(client, sue, bob, text):
    client.force_login(sue)
    assert client.post(page_of(bob), {"form_id": uuid4(), "text": text}).status_code == 200
    assert client.post(page_of(bob), {"form_id": "x", "text": "good"}).status_code == 200
    assert not Note.objects.exists()


def test_nobody_else_writes_notes_and_nobody_is_404(client, olga, alice, sue):
    client.force_login(olga)
    assert client.post(page_of(alice), {"form_id": uuid4(), "text": "x"}).status_code == 403
    client.force_login(sue)
    for number in ("999999", "9" * 30):
        assert client.get(reverse("admin:customer", args=[number])).status_code == 404


# Access


def act(client, user, name, key, **fields):
    sent = {"reason": "Requested by the customer", "note": "Ticket 7", "idempotency_key": key, **fields}
    return client.post(reverse(f"admin:accounts_user_{name}", args=[user.pk]), sent)


def test_all_log_ins_end_once_under_a_double_click(client, sue, alice):
    browser = Client()
    browser.force_login(alice)
    client.force_login(sue)
    key = uuid4()
    assert "logged out everywhere" in text_of(act(client, alice, "end_logins", key))
    assert browser.get("/credits/").status_code == 200
    for _click in range(2):
        assert act(client, alice, "end_logins", key, confirmed="true")["Location"] == page_of(alice)
    assert browser.get("/credits/").status_code == 302
    alice.refresh_from_db()
    assert alice.login_epoch == 1
    event = AuditEvent.objects.get(action="log-ins ended")
    assert (event.actor, event.subject, event.details["note"]) == (sue, alice, "Ticket 7")
    act(client, alice, "end_logins", uuid4(), confirmed="true")
    assert AuditEvent.objects.filter(action="log-ins ended").count() == 2


def test_a_lost_second_factor_is_reset_once_and_its_owner_is_told(client, sue, alice):
    TOTP.activate(alice, generate_totp_secret())
    RecoveryCodes.activate(alice)
    client.force_login(sue)
    assert "Reset second factor" in text_of(client.get(page_of(alice)))
    key = uuid4()
    assert "the password alone logs in" in text_of(act(client, alice, "reset_factor", key))
    assert alice.authenticator_set.count() == 2
    for _click in range(2):
        assert act(client, alice, "reset_factor", key, confirmed="true").status_code == 302
    assert alice.authenticator_set.count() == 0
    assert [one.to for one in read_mails() if "second factor was removed" in one.subject] == [[alice.email]]
    assert AuditEvent.objects.get(action="second factor reset").details["kinds"] == "recovery_codes, totp"
    assert "Reset second factor" not in text_of(client.get(page_of(alice)))
    again = act(client, alice, "reset_factor", uuid4(), confirmed="true")
    assert "no second factor" in text_of(again)


def test_nobody_does_it_to_oneself_and_support_not_to_staff(client, sue, fred, alice):
    client.force_login(sue)
    for user, words in ((sue, "Somebody else must do this to you"), (fred, "Only a superuser")):
        for name in ("end_logins", "reset_factor", "suspend"):
            assert words in text_of(act(client, user, name, uuid4(), confirmed="true"))
    client.force_login(fred)
    assert act(client, alice, "reset_factor", uuid4(), confirmed="true").status_code == 403


# A stuck answer


@pytest.fixture
def stuck(alice, catalogue):
    generation = ask(alice, catalogue)
    begin(generation)
    Generation.objects.filter(pk=generation.pk).update(heartbeat_at=timezone.now() - timedelta(hours=1))
    generation.refresh_from_db()
    return generation


def release(client, generation, **fields):
    url = reverse("admin:inference_generation_release", args=[generation.pk])
    return client.post(url, {"reason": "Its worker stopped", "idempotency_key": uuid4(), **fields})


@pytest.mark.parametrize("role", ["sue", "olga"])
def test_a_stuck_answer_is_released_once_and_costs_nothing(client, request, role, alice, stuck, faults):
    client.force_login(request.getfixturevalue(role))
    if role == "sue":
        page = text_of(client.get(page_of(alice)))
        assert "Stuck Release" in page
    assert "costs nothing" in text_of(release(client, stuck))
    alice.wallet.refresh_from_db()
    assert alice.wallet.held_microcredits > 0
    assert release(client, stuck, confirmed="true").status_code == 302
    assert "not stuck" in text_of(release(client, stuck, confirmed="true"))  # the second click
    alice.wallet.refresh_from_db()
    stuck.refresh_from_db()
    assert (stuck.state, alice.wallet.held_microcredits) == ("failed", 0)
    assert AuditEvent.objects.get(action="answer released").subject == alice
    assert faults() == []


def test_an_answer_that_runs_or_waits_its_turn_is_not_released(client, sue, alice, catalogue):
    client.force_login(sue)
    waiting = ask(alice, catalogue)
    assert "not stuck" in text_of(release(client, waiting, confirmed="true"))
    begin(waiting)
    for confirmed in ("", "true"):
        assert "not stuck" in text_of(release(client, waiting, confirmed=confirmed))
    assert not AuditEvent.objects.filter(action="answer released").exists()


def test_finance_does_not_release(client, fred, stuck):
    client.force_login(fred)
    assert release(client, stuck, confirmed="true").status_code == 403
