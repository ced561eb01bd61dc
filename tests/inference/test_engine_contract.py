"""Every engine keeps the contract of `inference.engine.base`: the fake one, the real one, both architectures."""

import threading
import time

import pytest

from inference.engine.base import EngineError, EngineRequest, Sampling
from inference.engine.fake import FakeEngine

GREEDY = Sampling(temperature=0.0)


@pytest.fixture(
    scope="module",
    params=[
        "fake",
        pytest.param("Gemma3ForCausalLM", marks=pytest.mark.slow),
        pytest.param("Gemma3ForConditionalGeneration", marks=pytest.mark.slow),
    ],
)
def engine(request, tiny_models):
    if request.param == "fake":
        engine = FakeEngine(step_seconds=0.002)
    else:
        from inference.engine.batching import BatchingEngine

        engine = BatchingEngine(tiny_models[request.param])
    yield engine
    engine.close()
    assert not engine.is_alive()


def ask(engine, name, max_tokens=12, sampling=GREEDY, stop=()):
    request = EngineRequest(name, [2, 105, 2364, 107, 9259, 106, 107], max_tokens, sampling, stop)
    return list(engine.generate(request))


def text_of(deltas):
    return "".join(delta.text for delta in deltas)


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


def test_a_stop_string_is_cut_and_ends_the_answer(engine):
    whole = text_of(ask(engine, "whole", max_tokens=20))
    stop = whole[len(whole) // 2 :][:3]
    deltas = ask(engine, "cut", max_tokens=20, stop=(stop,))
    assert text_of(deltas) == whole[: whole.index(stop)]
    assert deltas[-1].finish_reason == "stop"


def test_cancel_ends_within_a_step_and_frees_the_slot(engine):
    deltas = []
    request = EngineRequest("cancelled", [2, 9259], 4000, GREEDY)
    for delta in engine.generate(request):
        deltas.append(delta)
        if len(deltas) == 3:
            engine.cancel("cancelled")
    assert deltas[-1].finish_reason == "cancelled"
    assert deltas[-1].completion_tokens < 1000
    assert ask(engine, "next")[-1].completion_tokens > 0


def test_cancelling_an_unknown_request_is_harmless(engine):
    engine.cancel("nobody")


def test_closing_the_iterator_frees_the_slot(engine):
    deltas = engine.generate(EngineRequest("left", [2, 9259], 4000, GREEDY))
    next(deltas)
    deltas.close()
    assert ask(engine, "after")[-1].completion_tokens > 0


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
def test_a_dead_batching_thread_fails_the_waiting_and_is_seen(tiny_models):
    from inference.engine.batching import BatchingEngine

    engine = BatchingEngine(tiny_models["Gemma3ForCausalLM"])
    deltas = engine.generate(EngineRequest("waiting", [2, 9259], 4000, GREEDY))
    next(deltas)
    engine._manager.stop(block=True, hard_stop=True)
    with pytest.raises(EngineError):
        list(deltas)
    deadline = time.monotonic() + 5
    while engine.is_alive() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not engine.is_alive()
    with pytest.raises(EngineError):
        ask(engine, "too-late")
    engine.close()


def test_a_failing_engine_raises_what_it_promised():
    engine = FakeEngine(fails_at=3)
    deltas = engine.generate(EngineRequest("fails", [2], 10, GREEDY))
    assert next(deltas).completion_tokens == 1
    with pytest.raises(EngineError):
        list(deltas)
