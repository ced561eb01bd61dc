"""Every engine keeps the contract of `inference.engine.base`: the fake ones, and the real one on each architecture."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from inference.engine.base import EngineError, EngineRequest, Sampling
from inference.engine.fake import FakeEngine
from tests.inference.engine.asking import GREEDY, ask, ask_at_once, make_engine, make_engine_of, text_of, wait_until
from tests.inference.engines import begin, write


@pytest.fixture(
    scope="module",
    params=[
        "fake",
        "paced",
        pytest.param(("Gemma3ForCausalLM", "int8"), marks=pytest.mark.slow),
        pytest.param(("Gemma3ForConditionalGeneration", "float32"), marks=pytest.mark.slow),
        pytest.param(("LlamaForCausalLM", "int8"), marks=pytest.mark.slow),
        pytest.param(("Qwen2ForCausalLM", "float32"), marks=pytest.mark.slow),
        pytest.param(("Qwen3ForCausalLM", "int8"), marks=pytest.mark.slow),
    ],
    ids=str,
)
def engine(request, tiny_models):
    engine = make_engine_of(request.param, tiny_models)
    yield engine
    engine.close()
    assert not engine.is_alive()


@pytest.fixture
def own_engine(tiny_models):
    """A real engine that a test may break."""
    engine = make_engine(tiny_models)
    yield engine
    engine.close()


def test_only_the_last_delta_says_why_it_ended(engine):
    deltas = ask(engine, "ends")
    assert [delta.finish_reason for delta in deltas[:-1]] == [None] * (len(deltas) - 1)
    assert deltas[-1].finish_reason in ("length", "stop")


def test_tokens_are_counted_exactly_and_never_beyond_the_limit(engine):
    counts = [delta.completion_tokens for delta in ask(engine, "counts", max_tokens=9)]
    assert counts == sorted(counts)
    assert counts[-1] <= 9
    assert ask(engine, "one", max_tokens=1)[-1].completion_tokens == 1


def test_the_same_seed_draws_the_same(engine):
    first = ask(engine, "seed-1", sampling=Sampling(seed=7))
    assert text_of(first) == text_of(ask(engine, "seed-2", sampling=Sampling(seed=7)))


def test_a_seed_draws_the_same_with_min_p_and_the_penalty(engine):
    sampling = Sampling(seed=7, min_p=0.05, repetition_penalty=1.3)
    first = text_of(ask(engine, "seed-3", max_tokens=24, sampling=sampling))
    assert first == text_of(ask(engine, "seed-4", max_tokens=24, sampling=sampling))


def test_a_seed_draws_the_same_whoever_shares_the_batch(engine):
    def request(number, seed):
        prompt = [2, 105, 364, 107, *range(500, 500 + 3 * number + 1), 106, 107]
        return EngineRequest(f"shared-{number}-{seed}", prompt, 24, Sampling(seed=seed))

    alone = text_of(write(engine, request(4, 11)))
    together = ask_at_once(engine, [request(number, 11 if number == 4 else 50 + number) for number in range(9)])
    assert text_of(together[4]) == alone


def test_a_request_past_its_time_ends_with_an_error_and_frees_the_slot(engine):
    request = EngineRequest("late", [2, 925], 30_000, GREEDY, max_seconds=0.01)
    started = time.monotonic()
    with pytest.raises(EngineError, match="too long"):
        write(engine, request)
    assert time.monotonic() - started < 10
    assert ask(engine, "after-late")[-1].completion_tokens > 0


def test_a_thousand_stop_strings_are_heeded(engine):
    whole = text_of(ask(engine, "thousand", max_tokens=20))
    stop = whole[len(whole) // 2 :][:3]
    stops = (*(f"never {number}" for number in range(999)), stop)
    assert text_of(ask(engine, "thousand-cut", max_tokens=20, stop=stops)) == whole[: whole.index(stop)]


def test_a_stop_string_is_cut_and_ends_the_answer(engine):
    whole = text_of(ask(engine, "whole", max_tokens=20))
    stop = whole[len(whole) // 2 :][:3]
    deltas = ask(engine, "cut", max_tokens=20, stop=(stop,))
    assert text_of(deltas) == whole[: whole.index(stop)]
    assert deltas[-1].finish_reason == "stop"


def test_blanks_around_an_answer_are_dropped_where_the_request_says_so(engine):
    whole = text_of(ask(engine, "blanks", max_tokens=30))
    for stop in ((), (whole[len(whole) // 2 :][:3],)):
        kept = whole[: whole.index(stop[0])] if stop else whole
        deltas = ask(engine, "trimmed", max_tokens=30, stop=stop, trims_start=True)
        assert text_of(deltas) == kept.strip()
        assert text_of(ask(engine, "untrimmed", max_tokens=30, stop=stop)) == kept


def test_cancel_ends_within_a_step_and_frees_the_slot(engine):
    deltas = []

    def cancel_at_the_third(delta):
        deltas.append(delta)
        if len(deltas) == 3:
            engine.cancel("cancelled")

    request = EngineRequest("cancelled", [2, 925], 4000, GREEDY)
    assert engine.write(request, cancel_at_the_third) == "cancelled"
    assert deltas[-1].finish_reason == "cancelled"
    assert deltas[-1].completion_tokens < 1000
    assert ask(engine, "next")[-1].completion_tokens > 0


def test_cancelling_an_unknown_request_is_harmless(engine):
    engine.cancel("nobody")


def test_an_id_that_has_ended_can_be_used_again(engine):
    """A cancellation after the end would hit whoever has the id next, who would wait for ever."""

    def again():
        return write(engine, EngineRequest("again", [2, 925], 2, GREEDY, max_seconds=20))

    assert {again()[-1].finish_reason for _ in range(20)} <= {"length", "stop"}


@pytest.mark.parametrize("at", [2, 5])
def test_an_error_of_who_gets_the_text_is_theirs_alone_and_frees_the_slot(engine, at):
    came = []

    def fail(delta):
        came.append(delta)
        if len(came) == at or delta.finish_reason:
            raise ValueError("the reader is gone")

    company = begin(engine, EngineRequest("company", [2, 925], 200, GREEDY))
    with pytest.raises(ValueError, match="the reader is gone"):
        engine.write(EngineRequest("left", [2, 925], 5, GREEDY), fail)
    assert len(came) <= at
    assert ask(engine, "after")[-1].completion_tokens > 0
    engine.cancel("company")
    assert list(company)[-1].finish_reason in ("cancelled", "length", "stop")


def test_many_at_once_each_get_their_own(engine):
    answers = {}

    def run(name):
        answers[name] = ask(engine, name, sampling=Sampling(seed=hash(name) % 1000))

    threads = [threading.Thread(target=run, args=(f"many-{n}",)) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert len(answers) == 12
    assert all(deltas[-1].finish_reason for deltas in answers.values())


@pytest.mark.slow
def test_stop_frees_the_slot_within_one_step_and_it_serves_the_next(own_engine):
    batcher, steps = own_engine._manager, []
    write(own_engine, EngineRequest("warm", [2], 1, GREEDY))
    step = batcher._generation_step

    def record():
        steps.append(
            {future.state.request_id for future in batcher.batch_processor.inputs_and_outputs.requests_in_batch}
        )
        step()

    batcher._generation_step = record
    full = [EngineRequest(f"full-{number}", [2, 925], 5000, GREEDY) for number in range(31)]
    with ThreadPoolExecutor(32) as pool:
        running = [pool.submit(write, own_engine, request) for request in full]
        stopped = begin(own_engine, EngineRequest("stopped", [2, 925], 5000, GREEDY))
        wait_until(lambda: steps and len(steps[-1]) == 32)
        waiting = pool.submit(ask, own_engine, "next", 3)
        time.sleep(0.2)
        assert not any("next" in ids for ids in steps)
        stopped_at = len(steps)
        own_engine.cancel("stopped")
        try:
            assert waiting.result(timeout=20)[-1].completion_tokens == 3
        finally:
            for request in full:
                own_engine.cancel(request.id)
        assert {job.result(timeout=60)[-1].finish_reason for job in running} == {"cancelled"}
    assert list(stopped)[-1].finish_reason == "cancelled"
    last = max(number for number, ids in enumerate(steps) if "stopped" in ids)
    first = min(number for number, ids in enumerate(steps) if "next" in ids)
    assert last <= stopped_at + 1  # the step that ran, and at most one that was already put together
    assert first <= last + 2


@pytest.mark.slow
def test_logits_that_are_no_numbers_fail_their_request_alone(own_engine):
    head = own_engine._manager.model.lm_head

    def spoil(_module, _inputs, logits):
        if logits.size(-2) == 3:
            logits[..., 1, 9] = float("nan")
        return logits

    hook = head.register_forward_hook(spoil)
    requests = [EngineRequest(f"nan-{number}", [2, 500 + number], 3000, GREEDY, max_seconds=20) for number in range(3)]
    with ThreadPoolExecutor(3) as pool:
        jobs = [pool.submit(write, own_engine, request) for request in requests]
        wait_until(lambda: any(job.done() for job in jobs))
        hook.remove()
        for request in requests:
            own_engine.cancel(request.id)
        errors = [str(job.exception(timeout=60)) for job in jobs if job.exception(timeout=60)]
        answers = [job.result() for job in jobs if not job.exception()]
    assert errors == ["The model computed something that is not a number."]
    assert [deltas[-1].finish_reason for deltas in answers] == ["cancelled", "cancelled"]
    assert own_engine.is_alive()
    assert ask(own_engine, "after-nan")[-1].completion_tokens > 0


@pytest.mark.slow
@pytest.mark.parametrize("error", [MemoryError("out of memory"), RuntimeError("a step failed")])
def test_a_failing_step_fails_all_who_wait_and_is_seen(own_engine, tiny_models, error):
    def fail(*_args, **_kwargs):
        raise error

    deltas = begin(own_engine, EngineRequest("running", [2, 925], 4000, GREEDY))
    own_engine._manager.model.lm_head.forward = fail
    with pytest.raises(EngineError):
        list(deltas)
    wait_until(lambda: not own_engine.is_alive())
    with pytest.raises(EngineError):
        ask(own_engine, "too-late")
    rebuilt = make_engine(tiny_models)
    assert ask(rebuilt, "rebuilt")[-1].completion_tokens > 0
    rebuilt.close()


@pytest.mark.slow
def test_a_dead_batching_thread_fails_the_waiting_and_is_seen(own_engine):
    deltas = begin(own_engine, EngineRequest("waiting", [2, 925], 4000, GREEDY))
    own_engine._manager.stop(block=True, hard_stop=True)
    with pytest.raises(EngineError):
        list(deltas)
    wait_until(lambda: not own_engine.is_alive())
    with pytest.raises(EngineError):
        ask(own_engine, "too-late")


def test_a_failing_engine_raises_what_it_promised():
    engine = FakeEngine(fails_at=3)
    deltas = begin(engine, EngineRequest("fails", [2], 10, GREEDY))
    assert next(deltas).completion_tokens == 1
    with pytest.raises(EngineError):
        list(deltas)
