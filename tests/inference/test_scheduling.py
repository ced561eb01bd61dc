"""Whose answer is next: customers take turns, whoever asks how often; and no queued row is forgotten."""

import threading
import time
from contextlib import contextmanager

import pytest
from django.db import transaction
from django.utils import timezone

from inference import relay
from inference.engine.fake import FakeEngine
from inference.hot_path import claim_next
from inference.models import Generation, GenerationState
from inference.queueing import QueuePlace, find_place
from inference.services import TooManyAnswers, stop_generation
from inference.worker import Worker
from tests.cast import begin
from tests.inference.engines import give_engine
from tests.inference.test_generation import ask, charge, wait_for

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
        assert not worker._jobs
    serving.join(timeout=10)
    generation.refresh_from_db()
    assert generation.state == GenerationState.COMPLETED


def test_the_customer_with_the_fewest_running_answers_is_next_then_who_asked_first(alice, bob, charlie, catalogue):
    rows = {name: ask(user, catalogue) for name, user in (("first", alice), ("second", alice), ("third", charlie))}
    assert claim_next(catalogue.pk, {alice.pk: 1}, most_of_user=24).pk == rows["third"].pk
    assert claim_next(catalogue.pk, {alice.pk: 1, charlie.pk: 1}, most_of_user=24).pk == rows["first"].pk
    assert claim_next(catalogue.pk, {alice.pk: 2, charlie.pk: 1}, most_of_user=2) is None  # she has enough
    assert claim_next("gemma-3-1b", {}, most_of_user=24) is None
    assert claim_next(catalogue.pk, {}, most_of_user=24).pk == rows["second"].pk
    assert claim_next(catalogue.pk, {}, most_of_user=24) is None


def test_a_thread_goes_on_with_what_waited_while_its_customer_had_enough(alice, catalogue, worker, settings, faults):
    settings.MAX_RUNNING_OF_USER = 1
    give_engine(worker, FakeEngine(length=3))
    asked = [ask(alice, catalogue) for _ in range(5)]
    worker.serve(catalogue.pk)
    assert {Generation.objects.get(pk=each.pk).state for each in asked} == {GenerationState.COMPLETED}
    assert faults() == []


def test_what_cannot_be_answered_here_is_left_to_other_workers(alice, catalogue, worker):
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
    worker.threads = 4
    lost, crowded = ask(alice, catalogue), ask(charlie, catalogue)
    queue = relay.connection()
    queue.delete(catalogue.queue)
    worker._look_for_work([catalogue.pk])
    assert queue.llen(catalogue.queue) == 0  # they may only just have been sent
    Generation.objects.update(enqueued_at=timezone.now() - timezone.timedelta(seconds=10))
    settings.MAX_RUNNING_OF_USER = 0  # everybody has enough
    worker._running_by_user = lambda _key: {charlie.pk: 1}
    worker._look_for_work([catalogue.pk])
    assert queue.llen(catalogue.queue) == 1
    queue.delete(catalogue.queue)
    worker._running_by_user = lambda _key: {}
    settings.MAX_RUNNING_OF_USER = 24
    worker._look_for_work([catalogue.pk, "gemma-3-1b"])
    assert queue.llen(catalogue.queue) == 2
    queue.delete(catalogue.queue)
    worker._look_for_work(["gemma-3-1b"])
    assert queue.llen(catalogue.queue) == 0
    assert {lost.state, crowded.state} == {"queued"}


def test_the_place_in_the_queue_counts_customers_turns_not_rows(alice, charlie, catalogue):
    flood = [ask(alice, catalogue) for _ in range(5)]
    mine = ask(charlie, catalogue)
    assert find_place(mine) == QueuePlace(1, None)  # after the first of five
    assert [find_place(each).ahead for each in flood] == [0, 2, 3, 4, 5]
    assert begin(flood[0])
    Generation.objects.filter(pk=flood[0].pk).update(started_at=timezone.now() - timezone.timedelta(seconds=10))
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
