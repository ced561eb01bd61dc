"""Customers' credits through the API: the ledger's own figures, to their owner alone."""

import asyncio
import csv
import io
import json
from uuid import uuid4

import pytest
from asgiref.sync import sync_to_async

from billing import ledger
from billing.models import EntryKind, Grant, Package, PromotionCode, TopUp
from billing.topups.orders import offer_of_amount, start_topup
from billing.topups.packages import seed_packages
from billing.topups.payments import PaymentError
from billing.topups.sandbox import SandboxProvider, play
from tests.billing.holds import open_hold
from tests.support.cast import CREDIT, at_once, fund

KEY = {"HTTP_IDEMPOTENCY_KEY": "order-1"}


@pytest.fixture
def packages(db):
    seed_packages()
    return list(Package.objects.all())


def test_the_wallet_says_what_is_free_and_what_is_held(login, alice, django_assert_num_queries):
    client, hold = login(alice), open_hold(alice)
    with django_assert_num_queries(2):
        wallet = client.get("/api/v1/wallet").json()
    assert wallet == {
        "balance_microcredits": 100 * CREDIT,
        "balance_credits": "100.000000",
        "held_microcredits": hold.amount_microcredits,
        "held_credits": f"0.{hold.amount_microcredits:06d}",
        "available_microcredits": 100 * CREDIT - hold.amount_microcredits,
        "available_credits": f"99.{CREDIT - hold.amount_microcredits:06d}",
        "owed_microcredits": 0,
        "owed_credits": "0.000000",
    }


def test_the_wallet_says_what_is_owed(login, bob):
    topup = start_topup(user=bob, offer=offer_of_amount(500), idempotency_key="k")
    play(topup=topup, action="pay")
    spent = ledger.settle(hold_id=open_hold(bob).pk, completion_tokens=100).charged_microcredits
    play(topup=topup, action="dispute")
    wallet = login(bob).get("/api/v1/wallet").json()
    assert (wallet["balance_microcredits"], wallet["owed_microcredits"]) == (0, spent)


def test_entries_recompute_to_the_balance(login, alice, staff, django_assert_num_queries):
    for tokens in range(1, 4):
        ledger.settle(hold_id=open_hold(alice).pk, completion_tokens=tokens)
    ledger.adjust(user=alice, amount_microcredits=-5, idempotency_key="a", reason="oops", by=staff)
    client = login(alice)
    with django_assert_num_queries(3):
        entries = client.get("/api/v1/ledger-entries?limit=100").json()["results"]
    assert sum(entry["amount_microcredits"] for entry in entries) == entries[0]["balance_after_microcredits"]
    assert entries[0]["amount_credits"] == "-0.000005"
    one = client.get(f"/api/v1/ledger-entries/{entries[1]['id']}").json()
    assert one == entries[1]
    assert one["created_at"].endswith("Z")


@pytest.mark.parametrize(
    ("query", "kinds"),
    [
        ("kind=usage", ["usage"]),
        ("kind=bonus", ["bonus"]),
        ("text=generation", []),
        ("text=gemma-3-270m", ["usage"]),
        ("since=2099-01-01", []),
        ("until=2020-01-01", []),
        ("kind=usage&since=2020-01-01&until=2099-01-01", ["usage"]),
        ("kind=usage&since=2020-01-01T00:00:00Z&until=2099-01-01T00:00:00%2B01:00", ["usage"]),
        ("kind=usage&since=2020-01-01T00:00:00+01:00", ["usage"]),  # a plus that nobody escaped
        ("since=0001-01-01T00:00:00%2B23:59&kind=usage", ["usage"]),
        ("until=2020-01-01T12:00:00.5z", []),
    ],
)
def test_entries_are_filtered(login, alice, query, kinds):
    ledger.settle(hold_id=open_hold(alice).pk, completion_tokens=3)
    found = login(alice).get(f"/api/v1/ledger-entries?{query}").json()["results"]
    assert [entry["kind"] for entry in found] == kinds


@pytest.mark.parametrize(
    "query",
    [
        "kind=theft",
        "since=yesterday",
        "since=01/02/2026",
        "since=2026-01-31T12:00:00",
        "since=2026-02-30",
        "until=1767225600",
        "sinse=2026-01-31",
        "offset=20",
        "hold=7",
        "text=%00",
        "limit=-1",
        "text=" + 101 * "x",
        "kind=",
        "hold=",
        "since=",
        "kind=usage&kind=bonus",
    ],
)
def test_a_filter_that_makes_no_sense_is_a_400(login, alice, query):
    client = login(alice)
    assert client.get(f"/api/v1/ledger-entries?{query}").status_code == 400
    if not query.startswith("limit"):
        assert client.get(f"/api/v1/exports/ledger-entries.csv?{query}").status_code == 400


def test_a_receipt_is_tokens_times_prices_and_its_refunds(login, alice, staff, django_assert_num_queries):
    hold = ledger.settle(hold_id=open_hold(alice).pk, completion_tokens=42)
    ledger.refund(hold_id=hold.pk, amount_microcredits=10, idempotency_key="r", reason="bad", by=staff)
    ledger.release(hold_id=open_hold(alice).pk)
    client = login(alice)
    with django_assert_num_queries(2):
        listed = client.get("/api/v1/receipts").json()["results"]
    receipt = client.get(f"/api/v1/receipts/{hold.pk}").json()
    assert listed == [receipt]
    assert receipt["charged_microcredits"] == hold.charged_microcredits
    assert (
        receipt["prompt_tokens"] * receipt["prompt_microcredits_per_token"]
        + receipt["completion_tokens"] * receipt["completion_microcredits_per_token"]
        == receipt["charged_microcredits"]
    )
    assert receipt["refunded_microcredits"] == 10
    assert receipt["ledger_entry_id"] == hold.entries.get(kind=EntryKind.USAGE).pk


def test_a_receipt_of_what_runs_or_cost_nothing_is_a_404(login, alice):
    for hold in (open_hold(alice), ledger.release(hold_id=open_hold(alice).pk)):
        assert login(alice).get(f"/api/v1/receipts/{hold.pk}").status_code == 404


def test_holds_are_filtered_by_state(login, alice, django_assert_num_queries):
    active = open_hold(alice)
    settled = ledger.settle(hold_id=open_hold(alice).pk, completion_tokens=1)
    client = login(alice)
    with django_assert_num_queries(2):
        assert [row["id"] for row in client.get("/api/v1/holds?state=active").json()["results"]] == [str(active.pk)]
    assert client.get(f"/api/v1/holds/{settled.pk}").json()["charged_microcredits"] == settled.charged_microcredits
    assert client.get("/api/v1/holds?state=lost").status_code == 400


def test_grants_say_where_credit_came_from(login, alice, django_assert_num_queries):
    fund(alice, 5, key="small")
    ledger.settle(hold_id=open_hold(alice).pk, completion_tokens=1)
    client = login(alice)
    for wrong in ("null", "1", "True", ""):
        assert client.get(f"/api/v1/grants?is_spent={wrong}").status_code == 400
    with django_assert_num_queries(2):
        grants = client.get("/api/v1/grants").json()["results"]
    assert (
        sum(grant["remaining_microcredits"] for grant in grants)
        == client.get("/api/v1/wallet").json()["balance_microcredits"]
    )
    spent = client.get("/api/v1/grants?is_spent=true").json()["results"]
    assert {grant["id"] for grant in spent} == set(
        Grant.objects.filter(remaining_microcredits=0).values_list("pk", flat=True)
    )


def test_a_top_up_is_ordered_paid_and_listed(login, alice, packages, faults, django_assert_num_queries):
    client, package = login(alice), packages[1]
    made = client.post("/api/v1/topups", {"package_id": package.pk}, **KEY)
    assert made.status_code == 201
    assert made.json()["checkout_url"].startswith("http://testserver/credits/sandbox/")
    assert client.get("/api/v1/payments").json()["results"] == []
    topup = TopUp.objects.get()
    assert client.get(f"/api/v1/payments/{topup.pk}").status_code == 404
    play(topup=topup, action="pay")
    assert client.get(f"/api/v1/topups/{topup.pk}").json()["state"] == "paid"
    with django_assert_num_queries(2):
        [payment] = client.get("/api/v1/payments").json()["results"]
    assert payment["credited_microcredits"] == package.credits_microcredits + package.bonus_microcredits
    assert client.get(f"/api/v1/payments/{topup.pk}").json() == payment
    wallet = client.get("/api/v1/wallet").json()
    assert wallet["balance_microcredits"] == 100 * CREDIT + payment["credited_microcredits"]
    assert faults() == []


def test_prices_and_payments_stand_there_as_people_write_them_too(login, alice, settings):
    settings.TOPUP_CURRENCY = "jpy"
    seed_packages()
    client = login(alice)
    packages = client.get("/api/v1/packages").json()["results"]
    assert [(row["price_minor"], row["price"]) for row in packages] == [(500, "500"), (2000, "2000"), (5000, "5000")]
    assert client.post("/api/v1/topups", {"amount_minor": 700}, **KEY).json()["amount"] == "700"
    play(topup=TopUp.objects.get(), action="pay")
    assert client.get("/api/v1/payments").json()["results"][0]["amount"] == "700"
    settings.TOPUP_CURRENCY = "usd"
    assert client.post("/api/v1/topups", {"amount_minor": 1250}, HTTP_IDEMPOTENCY_KEY="d").json()["amount"] == "12.50"


def test_the_same_key_orders_once_and_another_body_is_a_409(login, alice, charlie, packages):
    client = login(alice)
    first = client.post("/api/v1/topups", {"amount_minor": 1250}, **KEY)
    again = client.post("/api/v1/topups", {"amount_minor": 1250}, **KEY)
    assert (again.status_code, again.json()) == (201, first.json())
    for other in ({"amount_minor": 1251}, {"package_id": packages[0].pk}):
        refused = client.post("/api/v1/topups", other, **KEY)
        assert (refused.status_code, refused.json()["code"]) == (409, "idempotency_conflict")
    assert TopUp.objects.count() == 1
    assert login(charlie).post("/api/v1/topups", {"amount_minor": 1251}, **KEY).status_code == 201


@pytest.mark.django_db(transaction=True)
def test_ordering_twice_at_once_makes_one_order(login, alice):
    client = login(alice)
    answers = at_once(4, lambda _n: client.post("/api/v1/topups", {"amount_minor": 1250}, **KEY))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert TopUp.objects.count() == 1


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 400),
        ({"amount_minor": 1250, "package_id": 1}, 400),
        ({"amount_minor": 0}, 400),
        ({"amount_minor": -1250}, 400),
        ({"amount_minor": 12.5}, 400),
        ({"amount_minor": "1250"}, 400),
        ({"amount_minor": True}, 400),
        ({"amount_minor": 10**40}, 400),
        ({"amount_minor": 99}, 422),
        ({"amount_minor": 100_001}, 422),
        ({"package_id": 9_999_999}, 404),
        ({"package_id": None}, 400),
        ({"amount_minor": 1250, "currency": "eur"}, 400),
    ],
)
def test_an_order_that_makes_no_sense_is_refused(login, alice, body, status):
    assert login(alice).post("/api/v1/topups", body, **KEY).status_code == status
    assert TopUp.objects.count() == 0


@pytest.mark.parametrize("key", ["", "x" * 256, "a\tb", "é"])
def test_an_order_needs_an_idempotency_key(login, alice, key):
    answer = login(alice).post("/api/v1/topups", {"amount_minor": 1250}, HTTP_IDEMPOTENCY_KEY=key)
    assert (answer.status_code, list(answer.json()["errors"])) == (400, ["Idempotency-Key"])
    missing = login(alice).post("/api/v1/topups", {"amount_minor": 1250})
    assert (missing.status_code, list(missing.json()["errors"])) == (400, ["Idempotency-Key"])


def test_a_package_that_is_gone_cannot_be_ordered(login, alice, packages):
    Package.objects.update(is_active=False)
    client = login(alice)
    assert client.post("/api/v1/topups", {"package_id": packages[0].pk}, **KEY).status_code == 404
    assert client.get("/api/v1/packages").json()["results"] == []


def test_a_provider_that_is_away_is_a_503_and_the_same_key_tries_again(login, alice, monkeypatch):
    client = login(alice)
    with monkeypatch.context() as patch:
        patch.setattr(SandboxProvider, "start_checkout", lambda *_: (_ for _ in ()).throw(PaymentError("away")))
        assert client.post("/api/v1/topups", {"amount_minor": 1250}, **KEY).status_code == 503
    assert client.post("/api/v1/topups", {"amount_minor": 1250}, **KEY).status_code == 201
    assert TopUp.objects.count() == 1


def redeem(client, code, key=None):
    return client.post("/api/v1/codes", {"code": code}, headers={"idempotency-key": key or str(uuid4())})


def test_a_retry_of_a_code_gets_the_same_entry_and_another_code_a_409(login, alice, charlie, faults):
    for code in ("TWICE", "OTHER"):
        PromotionCode.objects.create(code=code, credits_microcredits=CREDIT, most_per_user=2)
    client = login(alice)
    first, again = redeem(client, "twice", "k"), redeem(client, " TWICE", "k")
    assert (first.status_code, again.status_code, again.json()) == (201, 201, first.json())
    assert redeem(client, "other", "k").json()["code"] == "idempotency_conflict"
    assert client.get("/api/v1/wallet").json()["balance_microcredits"] == 101 * CREDIT
    assert redeem(login(charlie), "twice", "k").status_code == 201
    assert redeem(client, "twice", "l").json()["id"] != first.json()["id"]
    assert client.post("/api/v1/codes", {"code": "twice"}).status_code == 400
    assert faults() == []


def test_a_code_is_redeemed_once(login, alice, faults):
    PromotionCode.objects.create(code="WELCOME", credits_microcredits=CREDIT)
    client = login(alice)
    answer = redeem(client, " welcome ")
    assert (answer.status_code, answer.json()["amount_microcredits"]) == (201, CREDIT)
    for code in ("welcome", "nothing"):
        refused = redeem(client, code)
        assert (refused.status_code, refused.json()["code"]) == (422, "refused")
    assert redeem(client, "a\x00b").status_code == 400
    assert client.get("/api/v1/wallet").json()["balance_microcredits"] == 101 * CREDIT
    assert faults() == []


def test_guessing_codes_is_limited(login, alice, one_minute):
    client = login(alice)
    answers = [redeem(client, str(uuid4())) for _ in range(11)]
    assert [answer.status_code for answer in answers] == [422] * 10 + [429]
    assert int(answers[-1]["Retry-After"]) == answers[-1].json()["wait_seconds"] > 0


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("name", ["csv", "json"])
async def test_an_export_has_every_entry(async_client, login, alice, name):
    await sync_to_async(fund)(alice, 5, key="small")
    client = await sync_to_async(login)(alice)
    response = await async_client.get(
        f"/api/v1/exports/ledger-entries.{name}", headers={"authorization": f"Bearer {client.tokens.access}"}
    )
    text = b"".join([piece async for piece in response.streaming_content]).decode()
    rows = json.loads(text) if name == "json" else list(csv.DictReader(io.StringIO(text)))
    assert [int(row["amount_microcredits"]) for row in rows] == [5, 100 * CREDIT]
    assert response["Content-Disposition"].startswith("attachment")
    await asyncio.sleep(0)


@pytest.mark.parametrize(
    "path", ["holds/{hold}", "receipts/{hold}", "ledger-entries/{entry}", "topups/{topup}", "payments/{topup}"]
)
def test_charlie_gets_404_for_what_is_alices(login, alice, charlie, path):
    hold = ledger.settle(hold_id=open_hold(alice).pk, completion_tokens=1)
    login(alice).post("/api/v1/topups", {"amount_minor": 1250}, **KEY)
    topup = TopUp.objects.get()
    play(topup=topup, action="pay")
    where = "/api/v1/" + path.format(hold=hold.pk, entry=hold.entries.get().pk, topup=topup.pk)
    assert login(alice).get(where).status_code == 200
    assert login(charlie).get(where).status_code == 404


@pytest.mark.parametrize("path", ["holds", "receipts", "ledger-entries", "grants", "topups", "payments"])
def test_charlie_lists_nothing_of_alices(login, alice, bob, path):
    ledger.settle(hold_id=open_hold(alice).pk, completion_tokens=1)
    login(alice).post("/api/v1/topups", {"amount_minor": 1250}, **KEY)
    play(topup=TopUp.objects.get(), action="pay")
    assert login(alice).get(f"/api/v1/{path}").json()["results"] != []
    assert login(bob).get(f"/api/v1/{path}").json()["results"] == []


@pytest.mark.parametrize(
    ("scope", "method", "path", "status"),
    [
        ("chat", "get", "wallet", 403),
        ("usage:read", "get", "wallet", 403),
        ("billing:read", "get", "wallet", 200),
        ("billing:read", "get", "usage", 403),
        ("usage:read", "get", "usage", 200),
        ("billing:read", "post", "topups", 403),
        ("billing:write", "post", "topups", 400),
        ("billing:write", "get", "topups", 403),
        ("billing:read", "post", "codes", 403),
    ],
)
def test_a_key_does_what_its_scopes_say(with_key, alice, scope, method, path, status):
    answer = getattr(with_key(alice, scope), method)(f"/api/v1/{path}")
    assert answer.status_code == status
    if status == 403:
        assert answer.json()["code"] == "scope_missing"
