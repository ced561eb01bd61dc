"""Notifications and preferences in the API, and the way of a notice from the ledger to the mail."""

from datetime import timedelta

import pytest
from django.core import mail
from django.db import transaction
from django.utils import timezone

from billing import notices
from billing.alerts import set_alert, tell_if_low
from billing.models import Notice
from billing.notices import GIVEN_UP_AFTER, LOST_AFTER, notify, send_lost_notices
from tests.cast import CREDIT, at_once
from tests.queue import run_tasks, take_tasks

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
    notices.send_notice(notice_id=notice.pk)
    assert (mail.outbox[0].subject, mail.outbox[0].body.strip()) == (row["subject"], row["text"])


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
def test_a_notice_is_written_with_what_it_tells_of_or_not_at_all(alice):
    take_tasks()
    with transaction.atomic():
        tell(alice)
        transaction.set_rollback(True)
    assert not Notice.objects.exists()
    assert take_tasks() == []
    tell(alice)
    assert run_tasks() == ["billing.send_notice"]
    assert Notice.objects.get().sent_at is not None


@pytest.mark.django_db(transaction=True)
def test_a_mail_that_was_lost_is_sent_an_hour_later_and_once(alice):
    notice = tell(alice)
    take_tasks()  # the broker died with it
    assert send_lost_notices() == 0
    Notice.objects.update(created_at=timezone.now() - LOST_AFTER - timedelta(seconds=1))
    assert send_lost_notices() == 1
    assert run_tasks() == ["billing.send_notice"]
    assert send_lost_notices() == 0
    notices.send_notice(notice_id=notice.pk)
    assert len(mail.outbox) == 1


def test_old_news_and_closed_accounts_get_no_mail(alice):
    notice = tell(alice)
    Notice.objects.update(created_at=timezone.now() - GIVEN_UP_AFTER)
    assert send_lost_notices() == 0
    alice.is_active = False
    alice.save()
    notices.send_notice(notice_id=notice.pk)
    assert mail.outbox == []


@pytest.mark.django_db(transaction=True)
def test_eight_workers_at_once_send_one_mail(alice):
    notice = tell(alice)
    assert at_once(8, lambda _n: notices.send_notice(notice_id=notice.pk)) == [None] * 8
    assert len(mail.outbox) == 1


@pytest.mark.django_db(transaction=True)
def test_with_the_broker_away_the_notice_is_there_all_the_same(alice, monkeypatch):
    def refuse(*_args, **_options):
        raise OSError("the broker is away")

    monkeypatch.setattr("billing.notices.current_app.send_task", refuse)
    set_alert(user=alice, below_microcredits=1000 * CREDIT)
    type(alice.wallet).objects.filter(pk=alice.wallet.pk).update(armed_alert_microcredits=1000 * CREDIT)
    assert tell_if_low(wallet_id=alice.wallet.pk)
    assert Notice.objects.get().name == "low_balance"
