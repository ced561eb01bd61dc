"""How alerts open, are told, muted, taken, resolved and closed, and what happens while nothing can be read."""

import uuid

import pytest
from django.db import OperationalError

from accounts.models import AuditEvent
from inference.generations.endings import fail_generation
from inference.models import Generation
from monitoring.alerts import actions
from monitoring.alerts.kept import delete_old
from monitoring.alerts.rounds import go_round
from monitoring.models import Alert, AlertEvent
from tests.inference.asking import ask
from tests.monitoring.alerts.going import go, later, states, subjects
from tests.support.cast import UserFactory, answered_talk
from tests.support.databases.owner import connect
from tests.support.databases.redis_admin import admin
from tests.support.mailbox import read_mails

TITLE = "Holds are stuck"


@pytest.fixture
def stuck(alice, catalogue, settings, operator, quiet):
    """Call it with False for a hold that is not stuck any more."""
    settings.HOLD_LIFETIME_SECONDS = -1
    asked = []

    def change(is_stuck=True):
        if is_stuck:
            asked.append(ask(alice, catalogue).pk)
        else:
            fail_generation(generation_id=asked.pop(), error="test")

    return change


@pytest.fixture
def opened(stuck):
    """An open alert of holds that are stuck, at second 301."""
    stuck()
    go(0)
    go(301)
    return Alert.objects.get(rule="stuck_hold", state="open")


def test_a_reason_that_comes_and_goes_opens_nothing(stuck):
    for seconds in range(0, 1200, 200):
        stuck(is_stuck=seconds % 400 == 0)
        go(seconds)
    assert states("stuck_hold") == []
    assert subjects(TITLE) == []


def test_a_reason_that_goes_for_a_moment_closes_nothing(opened, stuck):
    for seconds in range(400, 1600, 200):
        stuck(is_stuck=seconds % 400 != 0)
        go(seconds)
    assert states("stuck_hold") == ["open"]
    assert len(subjects(TITLE)) == 1


def test_it_opens_anew_when_it_comes_back(opened, stuck):
    stuck(is_stuck=False)
    go(400)
    go(701)
    stuck()
    go(800)
    go(1101)
    assert states("stuck_hold") == ["closed", "open"]
    assert len(subjects(TITLE)) == 3


def test_mails_go_to_operators_alone_or_to_the_addresses_that_are_set(opened, settings, staff):
    def read():
        return [mail for mail in read_mails() if TITLE in mail.subject]

    assert [mail.to for mail in read()] == [["operator@example.com"]]
    body = read()[0].body
    assert f"{settings.PUBLIC_URL}/ops/alerts/{opened.pk}/" in body
    assert f"{settings.PUBLIC_URL}/ops/runbook/#holds-are-stuck" in body
    settings.ALERT_EMAILS = ["pager@example.com"]
    actions.resolve(alert_id=opened.pk, by=staff)
    with later(86_402):
        go_round(is_asked_by_beat=True)
    assert [mail.to for mail in read()][1:] == [["pager@example.com"]]


def test_a_critical_one_is_told_once_more_unless_somebody_takes_it(catalogue, operator, quiet, settings):
    settings.ALERT_REMIND_SECONDS = 600
    title = "No worker takes answers of"
    go(0)
    go(61)
    go(660)
    assert len(subjects(title)) == 1
    go(700)
    go(900)
    go(2000)
    assert [subject[:25] for subject in subjects(title)] == ["Tally: critical: No worke", "Tally: nobody has taken: "]
    Alert.objects.update(reminded_at=None)
    actions.acknowledge(alert_id=Alert.objects.get(rule="no_worker").pk, by=operator)
    go(3000)
    assert len(subjects(title)) == 2


def test_a_muted_one_is_not_told_and_told_when_the_time_is_over(stuck, operator):
    stuck()
    go(0)
    go(301)
    actions.mute(alert_id=Alert.objects.get(rule="stuck_hold").pk, by=operator, how_long="1")
    stuck(is_stuck=False)
    go(400)
    go(701)
    assert len(subjects(TITLE)) == 1  # that it closed is not told
    stuck()
    go(800)
    go(1101)
    assert states("stuck_hold") == ["closed", "open"]
    assert len(subjects(TITLE)) == 1  # the next one within the hour is muted too
    go(3700)
    assert len(subjects(TITLE)) == 2


def test_muted_until_it_closes_says_nothing_of_the_next(opened, stuck, operator):
    actions.mute(alert_id=opened.pk, by=operator, how_long="end")
    stuck(is_stuck=False)
    go(400)
    go(701)
    stuck()
    go(800)
    go(1101)
    assert len(subjects(TITLE)) == 2


def test_a_resolved_one_is_quiet_and_opens_again_after_a_day(opened, operator):
    actions.resolve(alert_id=opened.pk, by=operator)
    go(700)
    assert states("stuck_hold") == ["resolved"]
    with later(86_402):
        go_round(is_asked_by_beat=True)
    assert states("stuck_hold") == ["open"]
    assert len(subjects(TITLE)) == 2


def test_a_resolved_one_closes_without_a_word(opened, stuck, operator):
    actions.resolve(alert_id=opened.pk, by=operator)
    stuck(is_stuck=False)
    go(400)
    go(701)
    assert states("stuck_hold") == ["closed"]
    assert len(subjects(TITLE)) == 1


def test_each_action_happens_once_and_is_in_the_audit_log(opened, operator):
    other, key = UserFactory(email="other@example.com"), uuid.uuid4()
    for by in (operator, operator, other):
        actions.acknowledge(alert_id=opened.pk, by=by)
    for _ in range(2):
        actions.add_note(alert_id=opened.pk, by=operator, text="Looking at it", key=key)
        actions.mute(alert_id=opened.pk, by=operator, how_long="8")
        actions.unmute(alert_id=opened.pk, by=operator)
        actions.unmute(alert_id=opened.pk, by=operator)
    for _ in range(2):
        actions.resolve(alert_id=opened.pk, by=operator)
    done = ["acknowledged", "noted", "muted", "unmuted", "muted", "unmuted", "resolved"]
    recorded = AuditEvent.objects.filter(action__startswith="alert ").order_by("pk")
    assert [event.action for event in recorded] == [f"alert {what}" for what in done]
    assert {event.actor for event in recorded} == {operator}
    assert recorded[0].details == {"alert": str(opened.pk), "title": TITLE, "details": "Acknowledged"}
    opened.refresh_from_db()
    assert opened.taken_by == operator
    assert AlertEvent.objects.filter(by=operator).count() == len(done)


def test_a_closed_one_refuses_actions_and_takes_notes(opened, stuck, operator):
    stuck(is_stuck=False)
    go(400)
    go(701)
    for action in (actions.acknowledge, actions.resolve, actions.unmute):
        with pytest.raises(actions.AlertIsOver):
            action(alert_id=opened.pk, by=operator)
    actions.add_note(alert_id=opened.pk, by=operator, text="It was the disk.", key=uuid.uuid4())


@pytest.mark.django_db(transaction=True)
def test_while_its_figures_cannot_be_read_an_alert_stays(stuck, opened):
    stuck(is_stuck=False)
    with connect() as owner:
        owner.execute("LOCK TABLE billing_hold IN ACCESS EXCLUSIVE MODE")
        go(400)
        go(800)
        assert states("stuck_hold") == ["open"]
        assert states("unread") == ["open"]
        owner.rollback()
    go(900)
    go(1201)
    assert states("stuck_hold") == ["closed"]
    assert states("unread") == ["closed"]


@pytest.mark.django_db(transaction=True)
def test_with_the_tables_of_alerts_locked_nobody_waits_and_customers_are_served(alice, catalogue, operator, quiet):
    tables = "monitoring_alert, monitoring_alertround, monitoring_alertevent, monitoring_processreport"
    with connect() as owner:
        owner.execute(f"LOCK TABLE {tables}, monitoring_alertdelivery IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(OperationalError, match="lock timeout"):
            go_round(is_asked_by_beat=True)
        answered_talk(alice, catalogue)
        assert ask(alice, catalogue).state == "queued"
        owner.rollback()
    go(0)


def test_with_the_keys_of_redis_gone_a_round_is_done(alice, catalogue, operator, quiet):
    admin().flushdb()
    go(0)
    assert Generation.objects.count() == 0


def test_what_is_old_is_deleted_and_what_is_open_stays(opened, stuck, operator):
    stuck(is_stuck=False)
    go(400)
    go(701)
    with later(86_400 * 399):
        delete_old()
    assert states("stuck_hold") == ["closed"]
    with later(86_400 * 402):
        delete_old()
    assert Alert.objects.filter(state="closed").count() == 0
    assert Alert.objects.filter(state="open").exists()
    assert not AlertEvent.objects.filter(alert_id=opened.pk).exists()
