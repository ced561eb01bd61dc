"""The audit log: what an event says, that nothing changes it, how it is found, and how it is taken along."""

import csv
import io

import psycopg
import pytest
from django.db import IntegrityError, ProgrammingError, connection, transaction
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from accounts import audit
from accounts.admin import audit_log
from accounts.models import AuditEvent
from accounts.staff import rights, suspension
from core.admin.large_lists import values_of
from tests.support.cast import UserFactory

pytestmark = pytest.mark.django_db
LIST, FILE = reverse("admin:accounts_auditevent_changelist"), reverse("admin:accounts_auditevent_csv")


@pytest.fixture
def boss(client, staff):
    client.force_login(staff)
    return staff


def rows_of(answer):
    return list(csv.DictReader(io.StringIO(answer.content.decode())))


def shown(client, **asked):
    return [event.action for event in client.get(LIST, asked).context["cl"].result_list]


def test_an_event_says_who_what_why_from_where_and_in_which_request(client, boss, alice):
    fields = {"reason": "Account taken over", "confirmed": "true", "idempotency_key": "a" * 32}
    page = reverse("admin:accounts_user_suspend", args=[alice.pk])
    client.post(page, fields, headers={"X-Request-Id": "from-the-proxy"}, REMOTE_ADDR="192.0.2.7")
    event = AuditEvent.objects.get(action="user suspended")
    assert (event.actor, event.subject, event.reason) == (boss, alice, "Account taken over")
    assert (event.address, event.request_id) == ("192.0.2.7", "from-the-proxy")


def test_a_bad_id_of_a_request_is_replaced(client, boss, alice):
    fields = {"reason": "Against the terms", "confirmed": "true", "idempotency_key": "a" * 32}
    page = reverse("admin:accounts_user_suspend", args=[alice.pk])
    client.post(page, fields, headers={"X-Request-Id": "<script>"})
    assert len(AuditEvent.objects.get(action="user suspended").request_id) == 32


def test_an_event_says_before_and_after(boss, alice):
    rights.change_rights(user=alice, by=boss, wanted={"is_staff": True})
    event = AuditEvent.objects.get(action="rights changed")
    assert (event.before, event.after) == ({"is_staff": "False"}, {"is_staff": "True"})
    assert event.details == {"is_staff": "False → True"}


def test_of_what_customers_do_to_themselves_no_address_is_kept(client, alice):
    client.force_login(alice)
    client.post(reverse("account_reauthenticate"), {"password": "correct horse battery staple"})
    client.post(reverse("settings:end_all_others"))
    event = AuditEvent.objects.get(action="other log-ins ended")
    assert (event.address, len(event.request_id)) == (None, 32)


def test_without_a_request_there_is_no_address_and_no_id(boss, alice):
    suspension.suspend_user(user=alice, by=boss, reason="x")
    event = AuditEvent.objects.get()
    assert (event.address, event.request_id) == (None, "")


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE accounts_auditevent SET action = 'another'",
        "UPDATE accounts_auditevent SET reason = ''",
        "DELETE FROM accounts_auditevent",
        "TRUNCATE accounts_auditevent",
        "ALTER TABLE accounts_auditevent DISABLE TRIGGER ALL",
        "DROP TRIGGER accounts_audit_keep ON accounts_auditevent",
    ],
)
def test_the_application_cannot_change_delete_or_empty_it(alice, statement):
    audit.record(actor=alice, action="a test", subject=alice)
    with (
        pytest.raises((IntegrityError, ProgrammingError)) as error,
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute(statement)
    refused = (psycopg.errors.IntegrityConstraintViolation, psycopg.errors.InsufficientPrivilege)
    assert isinstance(error.value.__cause__, refused)
    assert AuditEvent.objects.get().action == "a test"


def test_nobody_changes_it_in_the_admin(client, boss, alice):
    audit.record(actor=boss, action="a test", subject=alice)
    page = reverse("admin:accounts_auditevent_change", args=[AuditEvent.objects.get().pk])
    assert client.get(page).status_code == 200
    assert client.post(page, {"action": "another"}).status_code == 403
    client.post(LIST, {"action": "delete_selected", "_selected_action": [1], "post": "yes"})
    assert AuditEvent.objects.get().action == "a test"


def test_it_is_found_by_who_whom_object_kind_and_request(client, boss, alice, charlie):
    audit.record(actor=boss, action="first", subject=alice, refund=7)
    audit.record(actor=charlie, action="second", subject=charlie, key=8)
    client.post(
        reverse("admin:accounts_user_suspend", args=[charlie.pk]),
        {"reason": "Against the terms", "confirmed": "true", "idempotency_key": "a" * 32},
        headers={"X-Request-Id": "one-request"},
    )
    assert shown(client) == ["user suspended", "second", "first"]
    assert shown(client, q="ALICE@example.com ") == ["first"]
    assert shown(client, q=str(charlie.pk)) == ["user suspended", "second"]
    assert shown(client, q="refund 7") == ["first"]
    assert shown(client, q="one-request") == ["user suspended"]
    assert shown(client, q="second") == ["second"]
    assert shown(client, action="first") == ["first"]
    assert shown(client, subject__id__exact=alice.pk) == ["first"]
    assert shown(client, created_at__gte="2999-01-01 00:00:00+00:00") == []
    assert shown(client, q="nobody@example.com") == []
    assert shown(client, q="") == ["user suspended", "second", "first"]


def test_kinds_are_those_that_there_are(boss):
    assert values_of(AuditEvent, "action") == []
    for action in ("second", "first", "second"):
        audit.record(actor=boss, action=action)
    assert values_of(AuditEvent, "action") == ["first", "second"]


def test_the_list_counts_no_rows_and_asks_few_questions(client, boss, alice):
    for number in range(60):
        audit.record(actor=boss, action=f"kind {number}", subject=alice)
    with CaptureQueriesContext(connection) as queries:
        assert client.get(LIST).status_code == 200
    assert len(queries) <= 12
    assert not any("COUNT(" in query["sql"] for query in queries)
    assert client.get(LIST, {"p": 2}).status_code == 200
    assert client.get(LIST, {"all": ""}).status_code == 200


def test_the_file_is_the_filtered_list_and_says_so_in_the_log(client, boss, alice):
    audit.record(actor=boss, action="first", subject=alice, reason="why", limit=audit.Change(1, 2))
    audit.record(actor=boss, action="second", subject=alice)
    answer = client.get(FILE, {"action": "first"})
    (row,) = rows_of(answer)
    assert (row["actor_email"], row["subject_email"], row["action"]) == (
        "staff@example.com",
        "alice@example.com",
        "first",
    )
    assert (row["before"], row["after"], row["reason"]) == ("limit: 1", "limit: 2", "why")
    assert answer["Content-Disposition"] == f'attachment; filename="tally-audit-{timezone.now():%Y-%m-%d}.csv"'
    exported = AuditEvent.objects.latest("pk")
    assert (exported.actor, exported.action) == (boss, "audit log exported")
    assert (exported.details["events"], exported.details["filter"]) == ("1", "action=first")
    assert [row["action"] for row in rows_of(client.get(FILE))] == ["audit log exported", "second", "first"]


def test_the_file_holds_no_formulas(client, boss, alice):
    audit.record(actor=boss, action="first", subject=alice, reason="=HYPERLINK(1)")
    assert rows_of(client.get(FILE))[0]["reason"] == "'=HYPERLINK(1)"


def test_batches_make_the_whole_file(client, boss, monkeypatch):
    monkeypatch.setattr(audit_log, "BATCH_EVENTS", 3)
    for number in range(10):
        audit.record(actor=boss, action=f"kind {number}")
    assert [row["action"] for row in rows_of(client.get(FILE))] == [f"kind {number}" for number in reversed(range(10))]


def test_too_large_a_file_is_refused_and_not_recorded(client, boss, monkeypatch):
    monkeypatch.setattr(audit_log, "MOST_EXPORTED", 2)
    for number in range(3):
        audit.record(actor=boss, action=f"kind {number}")
    answer = client.get(FILE, follow=True)
    assert "more than 2 events" in answer.content.decode()
    assert not AuditEvent.objects.filter(action="audit log exported").exists()


def test_who_may_not_see_the_log_gets_no_file(client, catalogue):
    client.force_login(UserFactory.create(email="nobody@example.com", is_staff=True))
    assert client.get(FILE).status_code == 403
