"""The account itself: names, everything that is kept, and closing it for good."""

import json

import pytest
from asgiref.sync import sync_to_async
from django.utils import timezone

from accounts import data_export
from accounts.models import AuditEvent, User
from billing import ledger
from billing.models import AutomaticTopUp, LedgerEntry, SavedCard, TopUp, TopUpState
from billing.topups.automatic import turn_on
from billing.topups.orders import Offer, fail_topup, offer_of_amount, start_topup, store_order
from chat.models import Conversation
from inference.models import Generation
from tests.billing.holds import open_hold
from tests.support.cast import CREDIT, PASSWORD, at_once
from tests.support.mailbox import read_mails

pytestmark = pytest.mark.usefixtures("without_answers")

CLOSING = "/api/v1/account/closing"


@pytest.mark.parametrize(
    ("body", "status", "name"),
    [
        ({"first_name": "Alicia"}, 200, "Alicia"),
        ({}, 200, ""),
        ({"first_name": "x" * 151}, 400, ""),
        ({"first_name": None}, 400, ""),
        ({"email": "other@example.com"}, 400, ""),
        ({"is_staff": True}, 400, ""),
    ],
)
def test_people_change_their_names_and_nothing_else(login, alice, body, status, name):
    assert login(alice).patch("/api/v1/me", body).status_code == status
    alice.refresh_from_db()
    assert (alice.first_name, alice.email, alice.is_staff) == (name, "alice@example.com", False)


@pytest.mark.django_db(transaction=True)
async def test_the_export_has_everything_and_nothing_of_others(async_client, login, alice, charlie, talk, monkeypatch):
    monkeypatch.setattr(data_export, "BATCH_ROWS", 1)
    await sync_to_async(store_order)(alice, Offer(500, "jpy", CREDIT), "k", "sandbox")
    client = await sync_to_async(login)(alice)
    response = await async_client.get(
        "/api/v1/account/export", headers={"authorization": f"Bearer {client.tokens.access}"}
    )
    content = json.loads(b"".join([piece async for piece in response.streaming_content]))
    assert response["Cache-Control"] == "no-store"
    assert [row["email"] for row in content["account"]] == ["alice@example.com"]
    assert [row["text"] for row in content["messages"]] == ["secret question", "secret answer"]
    assert (
        sum(row["amount_microcredits"] for row in content["ledger_entries"])
        == (content["wallet"][0]["balance_microcredits"])
    )
    assert [(row["amount_minor"], row["amount"]) for row in content["topups"]] == [(500, "500")]
    assert len(content["generations"]) == len(content["holds"]) == len(content["conversations"]) == 1
    assert "charlie" not in json.dumps(content)
    assert alice.password not in json.dumps(content)


def test_every_table_that_names_a_user_is_exported_or_left_out_on_purpose(db):
    from django.apps import apps

    left_out = {
        "accounts.DataArchive",  # the file of an earlier export
        "account.EmailAddress",  # the address itself is in `account`
        "admin.LogEntry",  # what staff did in the admin
        "billing.Adjustment",  # names the staff who decided; its entry is exported
        "billing.Price",  # names the staff who set it
        "billing.PromotionCode",  # names the staff who made it
        "backoffice.Note",  # what staff note for each other
        "monitoring.Alert",  # names the operator who took it
        "monitoring.AlertEvent",  # names the operator who did it
        "billing.Refund",  # names the staff who decided; its entry is exported
    }
    exported = {section.rows(User(pk=1)).model._meta.label for section in data_export.SECTIONS.values()}
    named = {
        model._meta.label
        for model in apps.get_models()
        for field in model._meta.get_fields()
        if getattr(field, "related_model", None) is User and field.concrete and not field.auto_created
    }
    assert named - exported - left_out == set()


def test_closing_says_first_what_it_would_do(login, alice, django_assert_num_queries):
    client = login(alice)
    with django_assert_num_queries(3):
        plan = client.get(CLOSING).json()
    assert (plan["forfeits_microcredits"], plan["obstacles"]) == (100 * CREDIT, [])
    assert "given up" in plan["credits"]


def test_closing_erases_the_person_and_keeps_the_books(
    login, with_key, api, alice, talk, faults, django_capture_on_commit_callbacks
):
    client, key = login(alice), with_key(alice)
    given_up = client.get(CLOSING).json()["forfeits_microcredits"]
    entries = LedgerEntry.objects.count()
    with django_capture_on_commit_callbacks(execute=True):
        done = client.post(CLOSING, {"password": PASSWORD, "forfeits_microcredits": given_up})
    assert done.status_code == 204
    assert [sent.subject for sent in read_mails()] == ["Your account was closed"]
    assert [c.get("/api/v1/me").status_code for c in (client, key)] == [401, 401]
    login_again = api.post("/api/v1/auth/token", {"email": "alice@example.com", "password": PASSWORD})
    assert login_again.status_code == 401
    user = User.objects.get(pk=alice.pk)
    assert (user.email, user.is_active, user.has_usable_password()) == (
        f"deleted-{alice.pk}@deleted.invalid",
        False,
        False,
    )
    assert Conversation.objects.count() == 0
    assert Generation.objects.get().text == ""
    assert LedgerEntry.objects.count() == entries + 1
    assert user.wallet.balance_microcredits == 0
    assert AuditEvent.objects.filter(action="account closed", subject=user).count() == 1
    assert faults() == []
    again = api.post("/api/v1/auth/register", {"email": "alice@example.com", "password": "a-Long-passphrase-1"})
    assert again.status_code == 202
    assert User.objects.filter(email="alice@example.com").exists()


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"forfeits_microcredits": 0}, 409, "forfeit_changed"),
        ({"forfeits_microcredits": 100 * CREDIT + 1}, 409, "forfeit_changed"),
        ({"password": "wrong"}, 422, "refused"),
        ({"forfeits_microcredits": -1}, 400, "invalid_request"),
        ({"password": ""}, 400, "invalid_request"),
    ],
)
def test_closing_needs_the_password_and_the_exact_credits(login, alice, body, status, code):
    good = {"password": PASSWORD, "forfeits_microcredits": 100 * CREDIT}
    answer = login(alice).post(CLOSING, good | body)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert User.objects.get(pk=alice.pk).is_active


def test_an_account_with_a_running_answer_stays(login, alice):
    open_hold(alice)
    client = login(alice)
    plan = client.get(CLOSING).json()
    assert "still running" in plan["obstacles"][0]
    body = {"password": PASSWORD, "forfeits_microcredits": plan["forfeits_microcredits"]}
    assert client.post(CLOSING, body).status_code == 422
    assert User.objects.get(pk=alice.pk).is_active


def test_closing_forgets_the_card_and_stops_the_automatic_top_up(login, alice):
    card = SavedCard.objects.create(
        wallet=alice.wallet, provider="sandbox", method_reference="pm_1", last4="4242", saved_at=timezone.now()
    )
    turn_on(user=alice, offer=offer_of_amount(500), below_microcredits=CREDIT, ceiling_minor=5000)
    body = {"password": PASSWORD, "forfeits_microcredits": 100 * CREDIT}
    assert login(alice).post(CLOSING, body).status_code == 204
    assert not SavedCard.objects.filter(pk=card.pk).exists()
    assert not AutomaticTopUp.objects.get().is_on


def test_an_account_with_a_payment_on_its_way_stays(login, alice):
    topup = start_topup(user=alice, offer=offer_of_amount(500), idempotency_key="k")
    fail_topup(topup_id=topup.pk, provider=topup.provider, state=TopUpState.PENDING)
    answer = login(alice).post(CLOSING, {"password": PASSWORD, "forfeits_microcredits": 100 * CREDIT})
    assert (answer.status_code, TopUp.objects.get().state) == (422, "pending")


def test_staff_cannot_close_themselves(login, staff):
    answer = login(staff).post(CLOSING, {"password": PASSWORD, "forfeits_microcredits": 0})
    assert answer.status_code == 422


@pytest.mark.django_db(transaction=True)
def test_closing_twice_at_once_gives_up_once(login, alice, faults):
    client = login(alice)
    body = {"password": PASSWORD, "forfeits_microcredits": 100 * CREDIT}
    answers = at_once(4, lambda _n: client.post(CLOSING, body))
    assert sorted(answer.status_code for answer in answers)[0] == 204
    assert LedgerEntry.objects.filter(kind="adjustment").count() == 1
    assert AuditEvent.objects.filter(action="account closed").count() == 1
    assert faults() == []


@pytest.mark.django_db(transaction=True)
def test_an_answer_and_a_closing_at_once_leave_clean_books(login, alice, faults):
    client = login(alice)
    body = {"password": PASSWORD, "forfeits_microcredits": 100 * CREDIT}
    results = at_once(6, lambda n: client.post(CLOSING, body) if n == 0 else open_hold(alice))
    closed = results[0].status_code == 204
    held = [result for result in results[1:] if not isinstance(result, Exception)]
    assert closed != bool(held)
    assert {type(result) for result in results[1:] if isinstance(result, Exception)} <= {ledger.InsufficientCredits}
    assert faults() == []
