"""Log-ins that have ended are deleted once they are old, and no others."""

from datetime import timedelta
from typing import Any
from unittest import mock

import pytest
from celery import current_app
from django.conf import settings as project
from django.contrib.admin.models import LogEntry
from django.contrib.sessions.models import Session
from django.utils import timezone

from accounts import audit, purge
from accounts.models import ApiSession, AuditEvent
from accounts.tasks import purge_accounts

DAY, MINUTE = timedelta(days=1), timedelta(minutes=1)


def page_session(name, expires_in):
    Session.objects.create(session_key=name, session_data="", expire_date=timezone.now() + expires_in)


def api_login(user, name, *, expires_in, ended_before=None):
    now = timezone.now()
    return ApiSession.objects.create(
        user=user,
        refresh_id=name,
        refreshed_at=now - 100 * DAY,
        expires_at=now + expires_in,
        revoked_at=None if ended_before is None else now - ended_before,
    )


def left(rows, column):
    return set(rows.values_list(column, flat=True))


def test_sessions_that_have_expired_go_and_others_stay(db):
    for name, expires_in in (("old", -30 * DAY), ("just", -MINUTE), ("soon", MINUTE), ("later", 14 * DAY)):
        page_session(name, expires_in)
    assert purge.purge_logins() == 2
    assert left(Session.objects, "session_key") == {"soon", "later"}


def test_api_log_ins_go_some_time_after_they_ended(alice, settings):
    settings.KEEP_ENDED_LOGINS_DAYS = 10
    api_login(alice, "open", expires_in=DAY)
    api_login(alice, "expired", expires_in=-9 * DAY)
    api_login(alice, "expired long ago", expires_in=-11 * DAY)
    api_login(alice, "ended", expires_in=DAY, ended_before=9 * DAY)
    api_login(alice, "ended long ago", expires_in=DAY, ended_before=11 * DAY)
    purge_accounts()
    assert left(ApiSession.objects, "refresh_id") == {"open", "expired", "ended"}
    purge_accounts()
    assert ApiSession.objects.count() == 3


def test_a_purge_goes_by_the_clock_of_the_database(alice):
    page_session("soon", DAY)
    api_login(alice, "open", expires_in=DAY)
    with mock.patch("django.utils.timezone.now", return_value=timezone.now() + 365 * DAY):
        assert purge.purge_logins() == 0


def test_a_purge_works_in_batches_and_has_an_end(db, monkeypatch, django_assert_num_queries):
    monkeypatch.setattr(purge, "BATCH_ROWS", 2)
    monkeypatch.setattr(purge, "MOST_BATCHES", 3)
    for number in range(7):
        page_session(str(number), -DAY)
    with django_assert_num_queries(3 * 2):
        assert purge.in_batches(Session.objects.all(), purge.delete) == 6
    with django_assert_num_queries(2):
        assert purge.in_batches(Session.objects.all(), purge.delete) == 1


def test_what_is_renewed_meanwhile_stays(db):
    page_session("renewed", -DAY)

    def renew_first(rows):
        Session.objects.update(expire_date=timezone.now() + DAY)
        return purge.delete(rows)

    assert purge.in_batches(Session.objects.filter(expire_date__lt=timezone.now()), renew_first) == 0
    assert Session.objects.count() == 1


@pytest.mark.parametrize("name", ["accounts.purge", "billing.purge"])
def test_both_purges_run_daily_on_the_default_queue(name):
    current_app.loader.import_default_modules()
    task: Any = current_app.tasks[name]
    assert task.queue == "default"
    [planned] = [entry for entry in project.CELERY_BEAT_SCHEDULE.values() if entry["task"] == name]
    assert (len(planned["schedule"].hour), len(planned["schedule"].minute)) == (1, 1)


def test_notes_of_the_admin_go_when_they_are_old_and_the_audit_log_stays(staff, alice, settings):
    settings.KEEP_ADMIN_LOG_DAYS = 10
    audit.record(actor=staff, action="a test", subject=alice)
    for name, days in (("old", 11), ("young", 9)):
        note = LogEntry.objects.create(user=staff, object_repr=name, action_flag=2)
        LogEntry.objects.filter(pk=note.pk).update(action_time=timezone.now() - days * DAY)
    purge_accounts()
    assert left(LogEntry.objects, "object_repr") == {"young"}
    assert AuditEvent.objects.count() == 1


def test_each_thing_that_has_a_rule_has_its_task_in_the_schedule():
    scheduled = {entry["task"] for entry in project.CELERY_BEAT_SCHEDULE.values()}
    text = (project.BASE_DIR / "docs" / "operations.md").read_text()
    table = text.partition("## What is kept, and for how long")[2].partition("\n## ")[0]
    named = {word for word in table.split("`") if word.partition(".")[0] in project.INSTALLED_APPS and "." in word}
    assert named
    assert named <= scheduled
