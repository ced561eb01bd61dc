"""A thousand answers in a row leave a worker process as large as it was."""

import psutil
import pytest

from inference.models import Generation
from tests.faults.workers import wait_for
from tests.inference.asking import COMPLETION, PROMPT, ask, charge

pytestmark = [pytest.mark.thorough, pytest.mark.e2e, pytest.mark.django_db(transaction=True)]

WARM_UP, ANSWERS, TOKENS = 200, 1_000, 3
AT_ONCE = 40  # below MAX_LIVE_GENERATIONS


@pytest.mark.timeout(1800)
def test_a_thousand_answers_grow_the_worker_by_less_than_two_per_cent(alice, catalogue, start, faults):
    """Caches and pools fill while it warms up. One arena of memory for all: what lies free in many is no leak."""
    worker = start("first", STEP_SECONDS="0", PRELOAD_MODELS=catalogue.key, MALLOC_ARENA_MAX="1").wait_ready()
    process = psutil.Process(worker.process.pid)

    def answer(count):
        for _ in range(count // AT_ONCE):
            for _ in range(AT_ONCE):
                ask(alice, catalogue, max_tokens=TOKENS)
            wait_for(lambda: not Generation.objects.live().exists(), 120)
        return process.memory_info().rss

    before = answer(WARM_UP)
    after = answer(ANSWERS)
    print(before, after, f"{after / before - 1:.2%}")
    assert after < 1.02 * before
    asked = Generation.objects.all()
    assert set(asked.values_list("state", "completion_tokens")) == {("completed", TOKENS)}
    assert charge(alice) == (sum(one.prompt_tokens * PROMPT + TOKENS * COMPLETION for one in asked), 0)
    assert faults() == []
