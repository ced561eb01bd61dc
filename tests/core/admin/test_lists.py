"""The lists of the admin count nothing, search by indexes, show whose and how much, and are exported harmlessly."""

import csv
from datetime import timedelta

import pytest
from django.contrib import admin
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from accounts import audit
from accounts.api_keys import create_key
from accounts.models import Scope
from billing.models import Hold, LedgerEntry, Refund, TopUp
from core.admin import lists
from inference.models import Generation
from tests.billing.orders import complete, order
from tests.billing.refunds.adjusting import adjust
from tests.billing.refunds.refunding import ask
from tests.support.cast import UserFactory, answered_talk

LISTS = sorted(f"{model._meta.app_label}_{model._meta.model_name}" for model in admin.site._registry)
COUNTS_OF_A_PAGE = 14


def list_url(name, page="changelist"):
    return reverse(f"admin:{name}_{page}")


@pytest.fixture
def desk(client, staff):
    client.force_login(staff)
    return client


@pytest.fixture
def rows(alice, bob, charlie, staff, catalogue):
    """Several rows of many tables, of several people."""
    for number, user in enumerate([alice, bob, charlie] * 4):
        complete(order(user, 200 + number))
        answered_talk(user, catalogue)
        create_key(user=user, name=f"k{number}", scopes=[Scope.CHAT])
        adjust(staff, user, 1)
        audit.record(actor=staff, action="a test", subject=user)
    for hold in Hold.objects.filter(state="settled"):
        ask(staff, 1, hold=hold)


@pytest.mark.parametrize("name", LISTS)
def test_no_list_counts_or_asks_for_each_row(desk, rows, name):
    with CaptureQueriesContext(connection) as asked:
        page = desk.get(list_url(name))
    assert page.status_code == 200
    assert len(page.content) < 300_000
    assert [query["sql"] for query in asked if 'AS "__count"' in query["sql"]] == []
    assert len(asked) <= COUNTS_OF_A_PAGE, [query["sql"][:90] for query in asked]
    text = page.content.decode()
    assert "select_across" not in text or 'class="question"' not in text
    assert "facets" not in text.lower()


@pytest.mark.parametrize("name", LISTS)
def test_every_list_is_a_file_too(desk, rows, name):
    answer = desk.get(list_url(name, "csv"))
    assert answer["Content-Type"] == "text/csv; charset=utf-8"
    read = list(csv.reader(answer.content.decode().splitlines()))
    shown = desk.get(list_url(name)).context["cl"].result_list
    assert len(read) > len(shown)
    assert "<a " not in answer.content.decode()
    assert desk.post(list_url(name, "csv")).status_code == 405


def test_a_file_runs_no_formula_and_follows_the_filters(desk, alice, bob, staff):
    adjust(staff, alice, 5)
    adjust(staff, bob, 7)
    TopUp.objects.filter(pk=order(bob).pk).update(payment_reference="=cmd|' /C calc'!A0")
    answer = desk.get(list_url("billing_topup", "csv"), {"user__exact": bob.pk}).content.decode()
    assert "'=cmd|" in answer
    assert desk.get(list_url("billing_topup", "csv"), {"user__exact": alice.pk}).content.decode().count("\n") == 1
    of_bob = desk.get(list_url("billing_ledgerentry", "csv"), {"wallet__exact": bob.wallet.pk}).content.decode()
    assert ("+7.00" in of_bob, "+5.00" in of_bob) == (True, False)
    assert desk.get(list_url("billing_topup", "csv"), {"user__password__startswith": "x"}).status_code == 400


def test_a_long_file_says_where_it_ends(desk, rows, monkeypatch):
    monkeypatch.setattr(lists, "MOST_EXPORTED", 3)
    text = desk.get(list_url("billing_ledgerentry", "csv")).content.decode().splitlines()
    assert len(text) == 5
    assert "Only the first 3 rows" in text[-1]


def test_pages_follow_each_other_without_a_count(desk, rows, monkeypatch):
    monkeypatch.setattr(type(admin.site._registry[LedgerEntry]), "list_per_page", 5)
    first = desk.get(list_url("billing_ledgerentry"))
    assert 'rel="next"' in first.content.decode()
    assert 'rel="prev"' not in first.content.decode()
    second = desk.get(list_url("billing_ledgerentry"), {"p": 2})
    assert 'rel="prev"' in second.content.decode()
    seen = [row.pk for answer in (first, second) for row in answer.context["cl"].result_list]
    assert seen == list(LedgerEntry.objects.order_by("-pk").values_list("pk", flat=True)[:10])
    for page in ("-3", "0", "999999999", "x"):
        assert desk.get(list_url("billing_ledgerentry"), {"p": page}).status_code == 200


def test_the_latest_answers_come_first_whatever_their_ids(desk, rows):
    ids = [row.pk for row in desk.get(list_url("inference_generation")).context["cl"].result_list]
    assert ids == list(Generation.objects.order_by("-created_at").values_list("pk", flat=True)[:50])
    Generation.objects.update(created_at=timezone.now() - timedelta(days=400))
    assert len(desk.get(list_url("inference_generation")).context["cl"].result_list) == len(ids)


@pytest.mark.parametrize(
    ("name", "text", "count"),
    [
        ("billing_ledgerentry", "alice@", 9),
        ("billing_ledgerentry", "ALICE@EXAMPLE.COM", 9),
        ("billing_ledgerentry", "nobody@", 0),
        ("billing_ledgerentry", "alice", 9),
        ("billing_ledgerentry", "lice", 0),
        ("billing_ledgerentry", "9" * 40, 0),
        ("billing_topup", "bob@", 4),
        ("accounts_user", "alice@", 1),
        ("accounts_auditevent", "charlie@", 5),
        ("account_emailaddress", "alice@", 1),
        ("auth_group", "support", 1),
    ],
)
def test_a_list_is_searched_by_whose_and_by_id(desk, rows, name, text, count):
    found = desk.get(list_url(name), {"q": text}).context["cl"].result_list
    assert (len(found) >= count) if count else (len(found) == 0)
    if name == "billing_ledgerentry" and count:
        assert {row.wallet.user.email for row in found} == {"alice@example.com"}


def test_ids_are_found(desk, rows):
    for name, row in (
        ("billing_refund", Refund.objects.first()),
        ("billing_hold", Hold.objects.first()),
        ("inference_generation", Generation.objects.first()),
        ("billing_ledgerentry", LedgerEntry.objects.first()),
    ):
        assert [one.pk for one in desk.get(list_url(name), {"q": f" {row.pk} "}).context["cl"].result_list] == [row.pk]


def test_an_action_is_done_with_what_was_ticked_and_never_with_all(desk, alice, staff, settings):
    settings.REFUND_APPROVAL_MICROCREDITS = 0
    asking = UserFactory.create(email="asking@example.com", is_staff=True)
    made = [adjust(asking, alice, 1), adjust(asking, alice, 2)]
    sent = {"action": "approve", "_selected_action": [made[0].pk], "select_across": "1"}
    assert desk.post(list_url("billing_adjustment"), sent).status_code == 400
    desk.post(list_url("billing_adjustment"), sent | {"select_across": "0"})
    for row in made:
        row.refresh_from_db()
    assert [row.state for row in made] == ["done", "waiting"]


def test_no_form_of_the_admin_has_a_list_of_all_users(desk, rows):
    for model in admin.site._registry:
        name = f"{model._meta.app_label}_{model._meta.model_name}"
        row = model._default_manager.order_by("pk").first()
        if row is not None:
            page = desk.get(reverse(f"admin:{name}_change", args=[row.pk])).content.decode()
            assert "charlie@example.com</option>" not in page, name
