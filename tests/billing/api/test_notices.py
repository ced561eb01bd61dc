"""Notifications and preferences in the API, and the way of a notice from the ledger to the mail."""

import pytest
from django.core import mail
from django.db import transaction

from accounts.models import OutgoingMail
from billing.models import Notice
from billing.notices.low_balance import set_alert, tell_if_low
from billing.notices.notices import notify
from tests.support.cast import CREDIT
from tests.support.databases.queue import run_tasks, take_tasks
from tests.support.mailbox import read_mails

LIST, PREFERENCES = "/api/v1/notifications", "/api/v1/preferences"


def tell(user, available="4"):
    notify(user_id=user.pk, name="low_balance", path="/credits/", available=available, below="5")
    return Notice.objects.filter(user=user).latest("pk")


def test_a_notice_says_what_the_mail_says(login, alice, settings):
    notice = tell(alice)
    [row] = login(alice).get(LIST).json()["results"]
    assert (row["id"], row["kind"], row["read_at"]) == (notice.pk, "low_balance", None)
    assert row["subject"] == "Your balance is low: 4 credits are left"
    assert "Fewer than 5 credits are free" in row["text"]
    assert row["url"] == f"{settings.PUBLIC_URL}/credits/"
    [sent] = read_mails()
    assert (sent.subject, sent.body.strip()) == (row["subject"], row["text"])


def test_reading_marks_what_came_before_and_nothing_of_others(login, alice, charlie):
    first, second, third = tell(alice), tell(alice), tell(alice)
    others = tell(charlie)
    client = login(alice)
    assert client.post(f"{LIST}/{second.pk}/read").json() == {"read": 2}
    assert client.post(f"{LIST}/{second.pk}/read").json() == {"read": 0}
    unread = client.get(f"{LIST}?is_read=false").json()["results"]
    assert [row["id"] for row in unread] == [third.pk]
    read = client.get(f"{LIST}?is_read=true").json()["results"]
    assert [row["id"] for row in read] == [second.pk, first.pk]
    assert client.post(f"{LIST}/{others.pk}/read").status_code == 404
    assert client.post(f"{LIST}/{others.pk}9999/read").status_code == 404
    others.refresh_from_db()
    assert others.read_at is None


def test_preferences_are_read_and_changed_one_by_one(login, with_key, alice):
    client = login(alice)
    before = client.get(PREFERENCES).json()
    assert before["alert_below_microcredits"] == 5 * CREDIT
    assert before["monthly_cap_microcredits"] is before["monthly_cap_credits"] is None
    changed = client.patch(PREFERENCES, {"monthly_cap_microcredits": 7 * CREDIT}).json()
    assert changed == before | {"monthly_cap_microcredits": 7 * CREDIT, "monthly_cap_credits": "7.000000"}
    off = client.patch(PREFERENCES, {"alert_below_microcredits": None, "monthly_cap_microcredits": None}).json()
    assert (off["alert_below_microcredits"], off["monthly_cap_microcredits"]) == (None, None)
    assert with_key(alice).get(PREFERENCES).json() == off
    assert with_key(alice).patch(PREFERENCES, {"monthly_cap_microcredits": None}).status_code == 403


@pytest.mark.parametrize("value", [0, -1, 1.5, "5", True, 2**60])
@pytest.mark.parametrize("name", ["alert_below_microcredits", "monthly_cap_microcredits"])
def test_a_preference_that_makes_no_sense_names_its_field(login, alice, name, value):
    client = login(alice)
    before = client.get(PREFERENCES).json()
    answer = client.patch(PREFERENCES, {name: value})
    assert (answer.status_code, list(answer.json()["errors"])) == (400, [name])
    assert client.get(PREFERENCES).json() == before


@pytest.mark.django_db(transaction=True)
def test_a_notice_and_its_mail_are_written_with_what_they_tell_of_or_not_at_all(alice):
    take_tasks()
    with transaction.atomic():
        tell(alice)
        transaction.set_rollback(True)
    assert (Notice.objects.count(), OutgoingMail.objects.count(), take_tasks()) == (0, 0, [])
    tell(alice)
    assert mail.outbox == []
    assert run_tasks() == ["accounts.deliver_mail"]
    assert [sent.to for sent in mail.outbox] == [["alice@example.com"]]


def test_a_suspended_customer_gets_no_mail_and_finds_the_notice_later(login, alice):
    alice.is_active = False
    alice.save()
    tell(alice)
    assert read_mails() == []
    alice.is_active = True
    alice.save()
    assert len(login(alice).get(LIST).json()["results"]) == 1


@pytest.mark.django_db(transaction=True)
def test_with_the_broker_away_the_notice_is_there_all_the_same(alice, monkeypatch):
    def refuse(*_args, **_options):
        raise OSError("the broker is away")

    monkeypatch.setattr("accounts.mail.outbox.current_app.send_task", refuse)
    set_alert(user=alice, below_microcredits=1000 * CREDIT)
    type(alice.wallet).objects.filter(pk=alice.wallet.pk).update(armed_alert_microcredits=1000 * CREDIT)
    assert tell_if_low(wallet_id=alice.wallet.pk)
    assert Notice.objects.get().name == "low_balance"
    assert len(read_mails()) == 1
