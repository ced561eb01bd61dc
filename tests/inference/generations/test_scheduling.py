"""Whose answer is next: customers take turns, whoever asks how often; and no queued row is forgotten."""

import threading
import time
from contextlib import contextmanager
from datetime import timedelta
from unittest.mock import Mock

import pytest
import redis
from django.db import OperationalError, connection, transaction
from django.utils import timezone
from kombu.exceptions import OperationalError as BrokerError

from inference.engine.fake import FakeEngine
from inference.generations.endings import stop_generation
from inference.generations.queue import QueuePlace, find_place
from inference.generations.requesting import TooManyAnswers
from inference.generations.statements import claim_next
from inference.generations.tickets import open_ticket, send_ticket
from inference.models import CatalogueModel, Generation, GenerationState
from inference.relay import streams
from inference.worker.jobs import Job
from inference.worker.worker import Worker
from tests.inference.asking import ask, charge, in_thread, wait_for
from tests.inference.engines import give_engine
from tests.support.cast import CREDIT, begin, fund
from tests.support.databases.queue import forget_tickets
from tests.support.databases.redis_admin import admin

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def worker(settings):
    settings.MAX_LIVE_GENERATIONS = 300
    return Worker()


@contextmanager
def threads_that_serve(worker, model, count):
    """As many threads as the pool of a real worker has, each with a task of its own."""
    threads = [threading.Thread(target=worker.serve, args=[model.pk]) for _ in range(count)]
    for thread in threads:
        thread.start()
    yield
    for thread in threads:
        thread.join(timeout=30)
    assert not any(thread.is_alive() for thread in threads)


def test_a_flood_of_one_customer_does_not_delay_the_first_answer_of_another(alice, charlie, catalogue, worker, faults):
    engine = give_engine(worker, FakeEngine(step_seconds=0.02))
    flood = [ask(alice, catalogue, max_tokens=2000) for _ in range(200)]
    with threads_that_serve(worker, catalogue, 32):
        wait_for(lambda: Generation.objects.filter(state=GenerationState.RUNNING).count() == 24)
        first = ask(charlie, catalogue, max_tokens=2)
        serving = threading.Thread(target=worker.serve, args=[catalogue.pk])  # the task of that request
        serving.start()
        wait_for(lambda: Generation.objects.get(pk=first.pk).state == GenerationState.COMPLETED)
        # Not one of the two hundred had ended before: it joined what was running.
        assert not Generation.objects.filter(user=alice, ended_at__isnull=False).exists()
        engine.length = 1
        for generation in flood:
            stop_generation(generation=generation)
        serving.join(timeout=30)
    assert not Generation.objects.live().exists()
    assert faults() == []


def test_a_row_that_somebody_is_just_changing_is_claimed_a_moment_later(alice, catalogue, worker):
    give_engine(worker, FakeEngine(length=3))
    generation = ask(alice, catalogue)
    with transaction.atomic():
        Generation.objects.select_for_update().get(pk=generation.pk)
        serving = threading.Thread(target=worker.serve, args=[catalogue.pk])
        serving.start()
        time.sleep(0.1)
        assert not worker.seats.jobs
    serving.join(timeout=10)
    generation.refresh_from_db()
    assert generation.state == GenerationState.COMPLETED


def test_the_customer_with_the_fewest_running_answers_is_next_then_who_asked_first(alice, bob, charlie, catalogue):
    rows = {name: ask(user, catalogue) for name, user in (("first", alice), ("second", alice), ("third", charlie))}

    def claim(running, most_of_user=24, model=catalogue.pk):
        return [row.pk for row in claim_next(model, running, most_of_user)]

    assert claim({alice.pk: 1}) == [rows["third"].pk]
    assert claim({alice.pk: 1, charlie.pk: 1}) == [rows["first"].pk]
    assert claim({alice.pk: 2, charlie.pk: 1}, most_of_user=2) == []  # she has enough
    assert claim({}, model="gemma-3-1b") == []
    assert claim({}) == [rows["second"].pk]
    assert claim({}) == []


def test_many_claimed_at_once_are_those_that_would_be_claimed_one_after_the_other(alice, bob, charlie, catalogue):
    fund(bob, 100 * CREDIT)
    asked = [ask(user, catalogue) for user in (alice, alice, alice, alice, bob, charlie, bob)]
    a1, a2, a3, _a4, b1, c1, b2 = [row.pk for row in asked]
    claimed = claim_next(catalogue.pk, {bob.pk: 1}, 3, count=5)
    assert [row.pk for row in claimed] == [a1, c1, a2, b1, a3]  # Bob has one already; nobody may have four
    assert {row.model.pk for row in claimed} == {catalogue.pk}
    assert [row.pk for row in claim_next(catalogue.pk, {alice.pk: 3, bob.pk: 2, charlie.pk: 1}, 3, count=5)] == [b2]


def test_there_are_never_more_answers_than_places_and_each_end_makes_room_for_the_next(
    alice, charlie, catalogue, worker, monkeypatch, faults
):
    claims = []

    def claim(model_key, running, most_of_user, count):
        claims.append((sum(running.values()), count))
        return claim_next(model_key, running, most_of_user, count)

    monkeypatch.setattr("inference.worker.seats.claim_next", claim)
    worker.seats.count = 2
    give_engine(worker, FakeEngine(length=3, step_seconds=0.02))
    for user in (alice, alice, charlie, charlie, alice):
        ask(user, catalogue)
    worker.serve(catalogue.pk)
    assert not Generation.objects.live().exists()
    assert claims[0] == (0, 2)
    assert all(running + count == 2 for running, count in claims)
    assert len(claims) <= 6  # the last ones find that nothing is left, and nobody looks again
    claims.clear()
    ask(charlie, catalogue)
    worker.serve(catalogue.pk)
    assert claims == [(0, 2)]  # there was more room than rows: its end looks for nothing
    assert faults() == []


def test_rows_that_find_no_place_are_begun_when_an_answer_of_another_model_ends(
    alice, catalogue, worker, settings, demo_folder, tmp_path, faults
):
    for key in (catalogue.pk, "gemma-3-1b"):  # both need a tokenizer
        (tmp_path / key).symlink_to(demo_folder)
    settings.MODEL_DIR = tmp_path
    other = CatalogueModel.objects.get(pk="gemma-3-1b")
    CatalogueModel.objects.filter(pk=other.pk).update(unavailable_reason="", prompt_format="transcript")
    other.refresh_from_db()
    worker.seats.count = 1
    give_engine(worker, FakeEngine(step_seconds=0.01))
    give_engine(worker, FakeEngine(length=3), key=other.pk)
    long = ask(alice, catalogue, max_tokens=2000)
    serving = in_thread(worker.serve, catalogue.pk)
    wait_for(lambda: worker.seats.jobs)
    waiting = ask(alice, other)
    worker.serve(other.pk)  # returns: there is no place
    assert Generation.objects.get(pk=waiting.pk).state == GenerationState.QUEUED
    stop_generation(generation=long)
    serving.join(10)
    assert Generation.objects.get(pk=waiting.pk).state == GenerationState.COMPLETED
    assert faults() == []


def test_what_was_claimed_is_answered_though_the_next_claim_fails(
    alice, charlie, catalogue, worker, monkeypatch, faults
):
    def claim(model_key, *arguments):
        if model_key != catalogue.pk:
            raise OperationalError("the database is away")
        return claim_next(model_key, *arguments)

    monkeypatch.setattr("inference.worker.seats.claim_next", claim)
    give_engine(worker, FakeEngine(length=20, step_seconds=0.02))
    worker.seats.count = 1
    first = ask(alice, catalogue)
    serving = in_thread(worker.serve, catalogue.pk)
    wait_for(lambda: worker.seats.jobs)
    second = ask(charlie, catalogue)
    worker.serve(catalogue.pk)  # returns: there is no place
    worker.seats.left["gemma-3-1b"] = None
    worker.seats.count = 3
    serving.join(10)
    assert not worker.seats.jobs
    assert {Generation.objects.get(pk=each.pk).state for each in (first, second)} == {GenerationState.COMPLETED}
    assert faults() == []


def test_one_unopened_ticket_is_enough_for_all_rows_that_wait(alice, charlie, catalogue):
    queue = admin()
    forget_tickets(catalogue)
    for user in (alice, charlie, alice):
        ask(user, catalogue)
    assert queue.llen(catalogue.queue) == 1
    open_ticket(catalogue.pk)
    ask(charlie, catalogue)
    assert queue.llen(catalogue.queue) == 2
    assert 0 < queue.ttl(f"ticket:{catalogue.pk}") <= 2  # a ticket that is lost does not stand in the way for long
    queue.delete(catalogue.queue)


def test_a_ticket_that_could_not_be_sent_stands_in_nobody_s_way(catalogue, monkeypatch):
    forget_tickets(catalogue)
    with monkeypatch.context() as broken:
        broken.setattr("celery.app.base.Celery.send_task", Mock(side_effect=BrokerError("away")))
        with pytest.raises(BrokerError):
            send_ticket(catalogue.pk)
    send_ticket(catalogue.pk)
    assert admin().llen(catalogue.queue) == 1
    nowhere = redis.Redis(port=1, socket_connect_timeout=1)
    monkeypatch.setattr(streams, "connection", lambda: nowhere)
    open_ticket(catalogue.pk)  # a worker looks all the same
    with pytest.raises(BrokerError):
        send_ticket(catalogue.pk)


def test_a_heartbeat_does_not_wait_for_an_answer_that_is_just_ending(alice, charlie, catalogue, worker):
    ending, other = ask(alice, catalogue), ask(charlie, catalogue)
    assert len(claim_next(catalogue.pk, {}, 24, count=2)) == 2
    Generation.objects.update(heartbeat_at=None)
    jobs = {row.pk: Job(row.pk, catalogue.pk, row.user_id) for row in (ending, other)}

    def beat():
        worker._beat_once(jobs)
        connection.close()

    with transaction.atomic():
        Generation.objects.select_for_update().get(pk=ending.pk)
        beating = in_thread(beat)
        beating.join(10)
        assert not beating.is_alive()
        assert Generation.objects.get(pk=other.pk).heartbeat_at
        assert not Generation.objects.get(pk=ending.pk).heartbeat_at
    worker._beat_once(jobs)
    assert Generation.objects.get(pk=ending.pk).heartbeat_at


def test_a_thread_goes_on_with_what_waited_while_its_customer_had_enough(alice, catalogue, worker, settings, faults):
    settings.MAX_RUNNING_OF_USER = 1
    give_engine(worker, FakeEngine(length=3))
    asked = [ask(alice, catalogue) for _ in range(5)]
    worker.serve(catalogue.pk)
    assert {Generation.objects.get(pk=each.pk).state for each in asked} == {GenerationState.COMPLETED}
    assert faults() == []


def test_what_cannot_be_answered_here_is_left_to_other_workers(alice, catalogue, worker):
    worker.seats.count = 1
    give_engine(worker, FakeEngine(fails_at=1))
    first, second = ask(alice, catalogue), ask(alice, catalogue)
    worker.serve(catalogue.pk)
    states = [Generation.objects.get(pk=each.pk).state for each in (first, second)]
    assert states == [GenerationState.FAILED, GenerationState.QUEUED]


def test_a_stop_that_comes_before_the_row_is_a_job_stops_it_all_the_same(alice, catalogue, worker, faults):
    give_engine(worker, FakeEngine(step_seconds=0.01))
    generation = ask(alice, catalogue, max_tokens=2000)
    worker._stop_by_id(generation.pk)  # as when the message overtakes the claim
    worker.serve(catalogue.pk)
    generation.refresh_from_db()
    assert generation.state == GenerationState.CANCELLED
    assert charge(alice) == (0, 0)
    assert faults() == []


def test_a_row_whose_task_was_lost_is_found_by_a_worker_with_room(alice, charlie, catalogue, worker, settings):
    worker.seats.count = 4
    lost, crowded = ask(alice, catalogue), ask(charlie, catalogue)
    queue = admin()
    forget_tickets(catalogue)
    worker._look_for_work([catalogue.pk])
    assert queue.llen(catalogue.queue) == 0  # they may only just have been sent
    Generation.objects.update(enqueued_at=timezone.now() - timedelta(seconds=10))
    open_ticket(catalogue.pk)
    worker.seats.count = 0
    worker._look_for_work([catalogue.pk])
    worker.seats.count = 4
    settings.MAX_RUNNING_OF_USER = 1
    worker.seats.running_by_user = lambda _key: {alice.pk: 1, charlie.pk: 1}  # both have enough
    worker._look_for_work([catalogue.pk, "gemma-3-1b"])
    assert queue.llen(catalogue.queue) == 0
    worker.seats.running_by_user = lambda _key: {alice.pk: 1}
    worker._look_for_work([catalogue.pk, "gemma-3-1b"])
    assert queue.llen(catalogue.queue) == 1
    queue.delete(catalogue.queue)
    assert {lost.state, crowded.state} == {"queued"}


def test_the_place_in_the_queue_counts_customers_turns_not_rows(alice, charlie, catalogue):
    flood = [ask(alice, catalogue) for _ in range(5)]
    mine = ask(charlie, catalogue)
    assert find_place(mine) == QueuePlace(1, None)  # after the first of five
    assert [find_place(each).ahead for each in flood] == [0, 2, 3, 4, 5]
    assert begin(flood[0])
    Generation.objects.filter(pk=flood[0].pk).update(started_at=timezone.now() - timedelta(seconds=10))
    place = find_place(flood[2])  # 1 and charlie's are ahead: three turns of some twenty seconds
    assert place.ahead == 2
    assert 55 <= place.wait_seconds <= 65
    assert place.describe().startswith("2 ahead of you, about ")
    assert find_place(flood[0]).describe() == "Waiting for the model…"


def test_a_crowd_of_one_customer_is_refused_and_a_retry_of_it_is_not(alice, catalogue, settings, faults):
    settings.MAX_LIVE_GENERATIONS = 2
    first = ask(alice, catalogue, key="again")
    ask(alice, catalogue)
    with pytest.raises(TooManyAnswers):
        ask(alice, catalogue)
    with pytest.raises(Exception, match=str(first.pk)):  # AlreadyRequested
        ask(alice, catalogue, key="again")
    assert charge(alice)[1] == 2 * first.hold.amount_microcredits
    assert faults() == []
