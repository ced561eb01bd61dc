"""A worker process with a full house dies: what ran is free, what waited is answered by the next one."""

import signal

import pytest

from inference.generations.endings import sweep_generations
from inference.models import Generation, GenerationState
from tests.faults.workers import states, tokens_of, wait_for
from tests.inference.asking import COMPLETION, PROMPT, ask, charge
from tests.support.databases.redis_admin import admin

pytestmark = [pytest.mark.e2e, pytest.mark.django_db(transaction=True)]

THREADS = 8  # of a worker process of `start`


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_what_runs_is_free_and_what_waits_is_answered_by_the_next_worker(
    alice,
    charlie,
    catalogue,
    start,
    faults,
    how,
):
    first = start("first", STEP_SECONDS="0.05", SHUTDOWN_GRACE_SECONDS="1").wait_ready()
    running = [ask((alice, charlie)[number % 2], catalogue, max_tokens=2000) for number in range(THREADS)]
    wait_for(lambda: all(tokens_of(generation) > 2 for generation in running), 30)
    waiting = [ask((alice, charlie)[number % 2], catalogue, max_tokens=5) for number in range(THREADS + 4)]
    first.process.send_signal(how)
    first.process.wait(20)
    start("second", STEP_SECONDS="0.001", PRELOAD_MODELS=catalogue.key).wait_ready()

    def all_ended():
        sweep_generations()
        return not Generation.objects.live().exists()

    wait_for(all_ended, 60)
    assert states(*running) == [GenerationState.FAILED] * THREADS
    outcome = list(Generation.objects.filter(pk__in=[one.pk for one in waiting]).values_list("state", "error"))
    assert outcome == [(GenerationState.COMPLETED, "")] * len(waiting)
    for generation in running:
        generation.refresh_from_db()
        assert generation.text.startswith("The quick brown")  # what had come is kept
        assert generation.error
        assert generation.hold.state == "released"
    for user in (alice, charlie):
        paid = sum(one.prompt_tokens * PROMPT + 5 * COMPLETION for one in waiting if one.user_id == user.pk)
        assert charge(user) == (paid, 0)
    told = [admin().xrevrange(f"generation:{one.pk}", count=1)[0][1] for one in [*running, *waiting]]
    assert [last["state"] for last in told] == ["failed"] * THREADS + ["completed"] * len(waiting)
    assert faults() == []
