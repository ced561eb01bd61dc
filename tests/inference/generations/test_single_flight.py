"""Identical deterministic requests at once are generated once: who leads, who follows, and what each pays."""

from datetime import timedelta

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from billing.ledger import caps
from inference import tasks
from inference.answer_cache import CacheUse
from inference.generations import endings, requesting, single_flight
from inference.generations.client_requests import Question, begin_answer
from inference.generations.endings import stop_generation, sweep_generations
from inference.generations.parameters import Caller, Parameters
from inference.generations.queue import find_place
from inference.models import Generation, GenerationState
from inference.prompting.prompts import Conversation, Turn
from inference.relay import streams
from tests.inference.asking import charge, in_thread, wait_for
from tests.inference.caching import (  # noqa: F401  fixtures among them
    COMPLETION,
    PROMPT,
    answered,
    ask,
    cache_price,
    caching_worker,
    count_requests,
    counting_engine,
    empty_queues,
    full_price,
    read,
)
from tests.support.cast import at_once, begin, fund, watch_database_for_long
from tests.support.databases.queue import clear_queue, forget_tickets, run_tasks
from tests.support.databases.redis_admin import admin

pytestmark = pytest.mark.django_db(transaction=True)


def test_ten_at_once_are_generated_once_and_cost_one_and_nine_tenths(alice, catalogue, worker, engine, faults):
    generations = at_once(10, lambda n: ask(alice, catalogue, key=f"at-once-{n}"))
    [leader] = [generation for generation in generations if generation.follows is None]
    followers = [generation for generation in generations if generation.follows == leader.pk]
    assert len(followers) == 9
    assert admin().llen(catalogue.queue) == 1
    at_once(10, lambda n: worker.serve(generations[n].model_id))  # nobody can take a follower
    assert run_tasks() == ["inference.pass_on"]
    assert count_requests(engine, *map(read, followers)) == (1, [True] * 9)
    assert {(row.state, row.text) for row in map(read, generations)} == {("completed", read(leader).text)}
    assert charge(alice) == (full_price(leader) + 9 * cache_price(leader), 0)
    assert charge(alice)[0] * 10 == full_price(leader) * 19
    assert faults() == []


def test_ten_at_once_of_two_users_who_ask_publicly_are_generated_once(
    alice, charlie, catalogue, worker, engine, faults
):
    users = [alice, charlie]
    generations = at_once(10, lambda n: ask(users[n % 2], catalogue, key=f"at-once-{n}", cache=CacheUse.PUBLIC))
    assert [row.follows is None for row in generations].count(True) == 1
    at_once(10, lambda n: worker.serve(generations[n].model_id))
    run_tasks()
    assert engine.requests == 1
    assert {row.state for row in map(read, generations)} == {"completed"}
    assert charge(alice)[0] + charge(charlie)[0] == full_price(generations[0]) * 19 // 10
    assert faults() == []


def test_whoever_waits_reads_the_whole_text_and_the_end_from_its_own_stream(alice, catalogue, worker, engine):
    leader, follower = ask(alice, catalogue), ask(alice, catalogue)
    worker.serve(leader.model_id)
    run_tasks()
    assert streams.read_text(follower.pk) == (read(leader).text, 7)
    entries = streams.connection().xrange(f"generation:{follower.pk}")
    assert entries[-1][1]["state"] == "completed"


def test_when_the_leader_fails_the_next_one_leads(alice, catalogue, worker, engine, faults):
    engine.fails_at = 3
    first, second, third = (ask(alice, catalogue) for _ in range(3))
    worker.serve(first.model_id)
    engine.fails_at = None
    assert run_tasks() == ["inference.pass_on"]
    assert (read(first).state, read(second).follows, read(third).follows) == ("failed", None, second.pk)
    assert charge(alice)[0] == 0
    worker.serve(second.model_id)
    run_tasks()
    assert count_requests(engine, read(second), read(third)) == (2, [False, True])
    assert charge(alice) == (full_price(second) + cache_price(second), 0)
    assert faults() == []


def test_when_the_leader_is_stopped_the_next_one_leads(alice, catalogue, worker, engine, faults):
    engine.length, engine.step_seconds = 500, 0.02
    first, second = ask(alice, catalogue, max_tokens=500), ask(alice, catalogue, max_tokens=500)
    thread = in_thread(worker.serve, first.model_id)
    wait_for(lambda: streams.read_text(first.pk)[1] >= 1)
    stop_generation(generation=first)
    thread.join(timeout=5)
    run_tasks()
    assert (read(first).state, read(second).state, second.follows) == ("stopped", "queued", None)
    engine.length, engine.step_seconds = 7, 0
    worker.serve(second.model_id)
    assert not read(second).is_from_cache
    assert charge(alice) == (full_price(first) + full_price(second), 0)
    assert faults() == []


def test_when_the_leader_is_cancelled_in_the_queue_the_next_one_is_queued(alice, catalogue, worker, engine, faults):
    first, second = ask(alice, catalogue), ask(alice, catalogue)
    forget_tickets(catalogue)
    stop_generation(generation=first)
    run_tasks()
    assert admin().llen(catalogue.queue) == 1
    assert not answered(worker, second).is_from_cache
    assert faults() == []


def test_whoever_waits_can_stop_for_nothing(alice, catalogue, worker, engine, faults):
    leader, follower = ask(alice, catalogue), ask(alice, catalogue)
    stop_generation(generation=follower)
    worker.serve(leader.model_id)
    run_tasks()
    assert read(follower).state == GenerationState.CANCELLED
    assert charge(alice) == (full_price(read(leader)), 0)
    assert faults() == []


def test_whoever_stopped_or_went_on_alone_is_given_nothing_and_charged_nothing(
    alice, catalogue, worker, engine, faults
):
    leader, stopped, alone = (ask(alice, catalogue) for _ in range(3))
    answered(worker, leader)
    stop_generation(generation=stopped)
    Generation.objects.filter(pk=alone.pk).update(follows=None)
    for follower in (stopped, alone):
        assert endings.repeat_generation(generation_id=follower.pk, answer=leader) is None
    assert charge(alice) == (full_price(leader), alone.hold.amount_microcredits)
    assert faults() == []


def test_stop_and_the_leaders_end_at_once_end_a_follower_one_way(alice, catalogue, worker, engine, faults):
    for number in range(8):
        leader, follower = (ask(alice, catalogue, text=f"Story {number}.") for _ in range(2))
        worker.serve(leader.model_id)
        at_once(2, lambda n, row=follower: stop_generation(generation=row) if n else run_tasks())
        assert read(follower).state in ("cancelled", "completed")
    assert faults() == []


def test_the_sweeper_goes_on_where_a_process_died(alice, catalogue, worker, engine, faults):
    first, second, third = (ask(alice, catalogue) for _ in range(3))
    worker.serve(first.model_id)
    clear_queue()  # the task is lost
    assert sweep_generations() == 0
    tasks.sweep_generations()
    assert count_requests(engine, read(second), read(third)) == (1, [True, True])
    assert single_flight.sweep_followers() == 0
    assert faults() == []


def test_when_the_leaders_worker_dies_the_sweeper_lets_the_next_one_lead(alice, catalogue, worker, engine, faults):
    first, second = ask(alice, catalogue), ask(alice, catalogue)
    assert begin(first)
    Generation.objects.filter(pk=first.pk).update(heartbeat_at=timezone.now() - timedelta(seconds=60))
    watch_database_for_long()
    assert sweep_generations() == 1
    run_tasks()
    assert answered(worker, second).follows is None
    assert charge(alice) == (full_price(second), 0)
    assert faults() == []


def test_a_process_that_dies_between_choosing_and_queueing_leaves_it_to_the_workers(
    alice, catalogue, worker, monkeypatch
):
    first, second = ask(alice, catalogue), ask(alice, catalogue)
    stop_generation(generation=first)
    monkeypatch.setattr(single_flight, "hand_back_generation", lambda **_: None)
    run_tasks()
    forget_tickets(catalogue)
    Generation.objects.update(enqueued_at=timezone.now() - timedelta(minutes=1))
    worker._look_for_work([catalogue.pk])
    assert admin().llen(catalogue.queue) == 1
    assert read(second).follows is None


def test_a_follower_is_neither_sent_to_a_worker_nor_overdue_while_its_leader_runs(alice, catalogue, settings):
    leader, follower = ask(alice, catalogue), ask(alice, catalogue)
    begin(leader)
    forget_tickets(catalogue)
    earlier = timezone.now() - timedelta(seconds=settings.QUEUE_WAIT_SECONDS + 1)
    Generation.objects.filter(pk=follower.pk).update(created_at=earlier, enqueued_at=earlier)
    assert sweep_generations() == single_flight.sweep_followers() == 0
    assert admin().llen(catalogue.queue) == 0
    assert not begin(follower)
    much_earlier = earlier - timedelta(seconds=settings.GENERATION_SECONDS)
    Generation.objects.filter(pk=follower.pk).update(created_at=much_earlier)
    assert sweep_generations() == 1  # whatever went wrong, nobody waits for ever
    assert charge(alice)[1] == read(leader).hold.amount_microcredits


def test_the_database_lets_one_lead_a_key_and_no_follower_run(alice, catalogue):
    leader, follower = ask(alice, catalogue), ask(alice, catalogue)
    rows = Generation.objects.filter(pk=follower.pk)
    with pytest.raises(IntegrityError, match="one_leads_a_key"), transaction.atomic():
        rows.update(follows=None)
    with pytest.raises(IntegrityError, match="a_follower_never_runs"), transaction.atomic():
        rows.update(state=GenerationState.RUNNING)
    assert leader.follows is None


def test_followers_of_an_answer_that_the_wallet_cut_short_are_generated(
    charlie, bob, catalogue, worker, engine, faults
):
    engine.length = 100
    fund(bob, 5_000)
    first = ask(bob, catalogue, max_tokens=500, cache=CacheUse.PUBLIC)
    second = ask(charlie, catalogue, max_tokens=500, cache=CacheUse.PUBLIC)
    answered(worker, first)
    run_tasks()
    assert answered(worker, second).completion_tokens == 100 > first.completion_tokens
    assert faults() == []


def test_a_follower_with_a_smaller_wallet_gets_the_whole_answer(charlie, bob, catalogue, worker, engine, faults):
    engine.length = 60
    first = ask(charlie, catalogue, max_tokens=500, cache=CacheUse.PUBLIC)
    fund(bob, first.prompt_tokens * PROMPT + 20 * COMPLETION)
    second = ask(bob, catalogue, max_tokens=500, cache=CacheUse.PUBLIC)
    assert second.is_limited_by_balance
    answered(worker, first)
    run_tasks()
    assert (read(second).completion_tokens, second.is_from_cache, second.is_limited_by_balance) == (60, True, False)
    assert charge(bob) == (cache_price(first), 0)
    assert faults() == []


def test_a_follower_that_cannot_pay_the_cache_price_any_more_is_generated_from_its_own_hold(
    alice, catalogue, worker, engine, faults
):
    leader, follower = ask(alice, catalogue), ask(alice, catalogue)
    answered(worker, leader)
    caps.set_cap(user=alice, cap_microcredits=1)
    run_tasks()
    assert (read(follower).state, follower.follows) == ("queued", None)
    assert not answered(worker, follower).is_from_cache
    assert charge(alice) == (2 * full_price(leader), 0)
    assert faults() == []


def test_a_retry_of_a_follower_finds_it_and_is_charged_once(alice, catalogue, worker, engine, faults):
    leader = ask(alice, catalogue)
    question = Question(
        model=catalogue,
        prompt=Conversation([Turn("user", "Tell me a story.")]),
        parameters=Parameters(max_tokens=20, temperature=0),
        inputs_hash="test",
        idempotency_key="mine",
        caller=Caller(cache=CacheUse.PRIVATE),
    )
    follower = begin_answer(user=alice, question=question)
    assert begin_answer(user=alice, question=question) == follower
    worker.serve(leader.model_id)
    run_tasks()
    assert begin_answer(user=alice, question=question) == follower
    assert charge(alice) == (full_price(read(leader)) + cache_price(leader), 0)
    assert faults() == []


def test_followers_count_as_live_answers(alice, catalogue, settings):
    settings.MAX_LIVE_GENERATIONS = 3
    for _ in range(3):
        ask(alice, catalogue)
    with pytest.raises(requesting.TooManyAnswers):
        ask(alice, catalogue)


def test_followers_are_not_ahead_of_anybody_in_the_queue(alice, catalogue):
    for _ in range(3):
        ask(alice, catalogue)
    assert find_place(ask(alice, catalogue, text="Something else.")).ahead == 1


def test_an_end_that_cannot_be_written_gives_a_follower_nothing_for_nothing(alice, catalogue, worker, engine, faults):
    leader, follower = ask(alice, catalogue), ask(alice, catalogue)
    answered(worker, leader)

    def refuse(generation, **_kwargs):
        raise RuntimeError("the disk is full")

    endings.generation_ended.connect(refuse)
    try:
        with pytest.raises(RuntimeError):
            run_tasks()
    finally:
        endings.generation_ended.disconnect(refuse)
    assert read(follower).state == GenerationState.QUEUED
    assert charge(alice) == (full_price(leader), follower.hold.amount_microcredits)
    assert single_flight.sweep_followers() == 1
    assert read(follower).is_from_cache
    assert faults() == []


def test_passing_on_twice_at_once_charges_once(alice, catalogue, worker, engine, faults):
    rows = [ask(alice, catalogue) for _ in range(4)]
    worker.serve(rows[0].model_id)
    at_once(4, lambda _n: single_flight.pass_on(leader_id=rows[0].pk))
    assert [row.is_from_cache for row in map(read, rows)] == [False, True, True, True]
    assert charge(alice) == (full_price(rows[0]) + 3 * cache_price(rows[0]), 0)
    assert faults() == []
