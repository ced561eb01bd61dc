"""Who is silent: by the database's clock, and never because the database itself was away."""

from datetime import timedelta

import pytest
from django.utils import timezone

from billing import ledger
from billing.models import Hold
from inference import heartbeats
from inference.generations.endings import sweep_generations
from inference.models import DatabaseWatch, Generation, GenerationState
from inference.relay import streams
from tests.inference.asking import ask, charge
from tests.support.cast import begin, watch_database_for_long

pytestmark = pytest.mark.django_db(transaction=True)


def seconds_ago(seconds):
    return timezone.now() - timedelta(seconds=seconds)


@pytest.fixture
def running(alice, catalogue):
    """An answer whose worker was heard of 15 seconds ago."""
    generation = ask(alice, catalogue)
    assert begin(generation)
    Generation.objects.update(heartbeat_at=seconds_ago(15))
    return generation


def watch(seen, since):
    DatabaseWatch.objects.update_or_create(
        pk=1, defaults={"seen_at": seconds_ago(seen), "watched_since": seconds_ago(since)}
    )


def test_nobody_is_silent_before_the_database_was_watched_for_as_long(running):
    assert sweep_generations() == 0  # the first look
    assert sweep_generations() == 0
    watch(seen=1, since=9)
    assert sweep_generations() == 0
    watch(seen=1, since=11)
    assert sweep_generations() == 1


def test_a_database_that_pauses_for_15_seconds_ends_no_healthy_answer(running, faults):
    """The sweeper's last look was before the pause; the worker's last heartbeat too."""
    watch(seen=15, since=3600)
    assert sweep_generations() == 0
    assert DatabaseWatch.objects.get().watched_since > seconds_ago(5)
    assert Generation.objects.get().state == GenerationState.RUNNING
    assert faults() == []


def test_a_pause_between_the_look_and_the_sweep_is_seen_too(running, monkeypatch):
    """The statements of a sweep that the database took 15 s for look at the same row again."""
    monkeypatch.setattr(heartbeats, "look", lambda: watch(seen=15, since=3600))
    assert sweep_generations() == 0


def test_a_heartbeat_that_comes_while_the_sweep_runs_counts(running, monkeypatch):

    def hear_of_it(_generation_id):
        Generation.objects.update(heartbeat_at=timezone.now())
        return "", 0

    watch_database_for_long()
    monkeypatch.setattr(streams, "read_text", hear_of_it)
    assert sweep_generations() == 0
    assert Generation.objects.get().state == GenerationState.RUNNING


@pytest.mark.parametrize("hours", [-2, 2])
def test_a_clock_of_this_machine_that_is_wrong_ends_nothing(alice, catalogue, monkeypatch, hours, faults):
    right = timezone.now
    monkeypatch.setattr(timezone, "now", lambda: right() + timedelta(hours=hours))
    running, queued = ask(alice, catalogue), ask(alice, catalogue)
    assert begin(running)
    watch_database_by_its_own_clock()
    assert sweep_generations() == 0
    assert ledger.expire_holds() == 0
    assert set(Generation.objects.values_list("state", flat=True)) == {"queued", "running"}
    assert set(Hold.objects.values_list("state", flat=True)) == {"active"}
    assert charge(alice)[1] == queued.hold.amount_microcredits + running.hold.amount_microcredits


def watch_database_by_its_own_clock():
    heartbeats.look()
    watched = DatabaseWatch.objects.get()
    DatabaseWatch.objects.update(watched_since=watched.seen_at - timedelta(hours=1))


def test_a_clock_of_the_database_that_is_set_ends_nothing(running):
    """Set forwards, everything seems long ago, the last look too; set backwards, the last look is still to come."""
    for hours in (1, -1):
        when = timezone.now() - timedelta(hours=hours)
        DatabaseWatch.objects.update_or_create(pk=1, defaults={"seen_at": when, "watched_since": when})
        assert sweep_generations() == 0
