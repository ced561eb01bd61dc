"""The real engine breaks under running answers, in a real worker: nobody pays, all are told, the next is answered."""

import threading

import pytest

from inference.catalogue import DEMO_KEY
from inference.models import GenerationState
from inference.relay import streams
from tests.inference.asking import COMPLETION, PROMPT, ask, charge, in_thread, wait_for
from tests.inference.working import REAL_ENGINE
from tests.support.databases.redis_admin import admin

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def worker(work, tmp_path, tiny_models):
    """A worker with a tiny random model in the place of the demo's, loaded."""
    (tmp_path / DEMO_KEY).symlink_to(tiny_models["Gemma3ForCausalLM"])
    worker = work(
        MODEL_DIR=tmp_path,
        INFERENCE_ENGINE=REAL_ENGINE,
        INFERENCE_PRECISION="float32",
        INFERENCE_CACHE_TOKENS=8 * 512,
    )
    worker.preload([DEMO_KEY])
    return worker


def engine_of(worker):
    return worker.models._slots[DEMO_KEY].engine


def begin(worker, asked):
    """Let the worker write these; returns the threads once every answer has begun."""
    threads = [in_thread(worker.serve, generation.model_id) for generation in asked]
    wait_for(lambda: all(streams.read_text(generation.pk)[1] > 2 for generation in asked), 60)
    return threads


def wait_ended(threads):
    for thread in threads:
        thread.join(timeout=60)
        assert not thread.is_alive(), "an answer hangs"


def run_out_of_memory(engine):
    def fail(*_args):
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory: you tried")

    engine._manager.model.lm_head.register_forward_pre_hook(fail)


def kill_the_batching_thread(engine):
    """As if by an error that nothing catches: it tells nobody."""
    loop = engine._manager._generation_thread

    def die(*_args):
        raise SystemExit

    engine._manager.model.lm_head.register_forward_pre_hook(die)
    loop.join(timeout=30)
    assert not loop.is_alive()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize(
    ("break_down", "error"),
    [(run_out_of_memory, "The machine ran out of memory."), (kill_the_batching_thread, "The model stopped.")],
)
def test_all_who_wait_are_told_for_free_and_the_engine_is_built_anew(
    alice, charlie, catalogue, worker, faults, break_down, error
):
    asked = [ask(user, catalogue, max_tokens=500) for user in (alice, charlie, alice)]
    broken = engine_of(worker)
    threads = begin(worker, asked)
    break_down(broken)
    wait_ended(threads)
    for generation in asked:
        generation.refresh_from_db()
        assert (generation.state, generation.error) == (GenerationState.FAILED, error)
        [(_id, last)] = admin().xrevrange(f"generation:{generation.pk}", count=1)
        assert last["state"] == "failed"  # the entry may bring the last text, too
    assert (charge(alice), charge(charlie)) == ((0, 0), (0, 0))
    after = ask(alice, catalogue, max_tokens=5)
    worker.serve(after.model_id)
    after.refresh_from_db()
    assert (after.state, after.error) == (GenerationState.COMPLETED, "")
    assert engine_of(worker) is not broken
    assert charge(alice) == (after.prompt_tokens * PROMPT + after.completion_tokens * COMPLETION, 0)
    assert faults() == []


def test_logits_that_are_no_numbers_cost_their_request_nothing_and_harm_no_neighbour(alice, catalogue, worker, faults):
    engine = engine_of(worker)
    spoilt = threading.Event()

    def spoil(_module, _inputs, logits):
        if logits.size(-2) == 3 and not spoilt.is_set():
            logits[..., 1, 9] = float("nan")
            spoilt.set()
        return logits

    asked = [ask(alice, catalogue, max_tokens=120) for _ in range(3)]
    engine._manager.model.lm_head.register_forward_hook(spoil)
    wait_ended([in_thread(worker.serve, generation.model_id) for generation in asked])
    assert spoilt.is_set()
    for generation in asked:
        generation.refresh_from_db()
    failed = [generation for generation in asked if generation.state == GenerationState.FAILED]
    answered = [generation for generation in asked if generation.state == GenerationState.COMPLETED]
    assert [generation.error for generation in failed] == ["The model computed something that is not a number."]
    assert len(answered) == 2
    paid = sum(one.prompt_tokens * PROMPT + one.completion_tokens * COMPLETION for one in answered)
    assert charge(alice) == (paid, 0)
    assert engine_of(worker) is engine
    assert faults() == []


def test_a_prompt_larger_than_the_cache_is_told_so_for_free_and_harms_nobody(
    alice, charlie, catalogue, worker, settings, faults
):
    settings.INFERENCE_CACHE_TOKENS = 512
    engine_of(worker).close()  # the next one is built with the smaller cache
    neighbour = ask(charlie, catalogue, max_tokens=100)
    too_large = ask(alice, catalogue, max_tokens=2000, text="word " * 3000)
    threads = begin(worker, [neighbour])
    worker.serve(too_large.model_id)
    wait_ended(threads)
    too_large.refresh_from_db()
    neighbour.refresh_from_db()
    assert too_large.error == "It needs more memory than the model has here. Shorten it, or start a new chat."
    assert neighbour.state == GenerationState.COMPLETED
    assert charge(alice) == (0, 0)
    assert charge(charlie)[1] == 0
    assert faults() == []
