"""What goes wrong inside the real engine: a full cache, too large a request, no memory; and who was waiting."""

import gc
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import count

import pytest

from inference.engine.base import EngineError, Sampling
from tests.inference.engine.asking import ask_at_once, text_of, wait_until
from tests.inference.engine.small_engines import PAGE, count_set_backs, make_small_engine, request
from tests.inference.engines import ReaderLeft, begin, write

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def small_engine(tiny_models):
    engine = make_small_engine(tiny_models["Gemma3ForCausalLM"])
    yield engine
    engine.close()


@pytest.fixture
def broken_engine(tiny_models):
    """One that a test may break."""
    engine = make_small_engine(tiny_models["Gemma3ForCausalLM"])
    yield engine
    engine.close()


def test_a_full_cache_sets_requests_back_and_changes_neither_text_nor_count(small_engine):
    asked = [request(number, PAGE - 10, 60, Sampling(seed=number)) for number in range(3)]
    alone = [write(small_engine, one) for one in asked]
    set_back = count_set_backs(small_engine)
    together = ask_at_once(small_engine, asked)
    assert set_back, "the cache was not full"
    for before, after in zip(alone, together, strict=True):
        assert text_of(after) == text_of(before)
        assert after[-1].completion_tokens == before[-1].completion_tokens
        counts = [delta.completion_tokens for delta in after]
        assert counts == sorted(counts)


@pytest.mark.parametrize("how", ["cancelled", "left by its reader", "cut by a stop string"])
def test_who_was_set_back_goes_on_when_the_other_is_gone_without_finishing(small_engine, how):
    """The library admits nobody until a request finishes, and one that is cancelled does not count as finished."""
    long = request(1, 5, 110, Sampling(seed=1, temperature=2.0))
    if how == "cut by a stop string":
        whole = text_of(write(small_engine, long))
        stop = whole[-8:-2]
        assert whole.index(stop) > len(whole) // 2
        long = replace(long, id="cut", stop=(stop,))
    set_back, left = count_set_backs(small_engine), threading.Event()
    with ThreadPoolExecutor(2) as pool:
        deltas = begin(small_engine, long, left)
        waiting = pool.submit(write, small_engine, request(2, PAGE - 4, 40))
        wait_until(lambda: set_back, 60)
        assert set_back == [request(2, PAGE - 4, 40).id]
        late = pool.submit(write, small_engine, request(3, 5, 4))
        if how == "cancelled":
            small_engine.cancel(long.id)
        if how == "left by its reader":
            left.set()
            with pytest.raises(ReaderLeft):
                list(deltas)
        else:
            assert list(deltas)[-1].finish_reason == ("cancelled" if how == "cancelled" else "stop")
        assert waiting.result(timeout=30)[-1].completion_tokens == 40
        assert late.result(timeout=30)[-1].completion_tokens == 4


def test_a_prompt_larger_than_the_cache_fails_alone(small_engine):
    deltas = begin(small_engine, request(1, 5, 60))
    with pytest.raises(EngineError, match=r"needs more memory than the model has here\. Shorten it"):
        write(small_engine, request(2, 200, 5))
    with pytest.raises(EngineError, match="needs more memory"):
        write(small_engine, request(3, 60, 70))  # its answer would outgrow the cache in the middle
    assert [*deltas][-1].completion_tokens == 60
    assert small_engine.is_alive()


def test_the_largest_request_that_fits_is_written_to_its_end(small_engine):
    assert write(small_engine, request(1, 100, 29))[-1].completion_tokens == 29  # the last one is never read again


OUT_OF_MEMORY = "[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory: you tried"


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (RuntimeError(OUT_OF_MEMORY), "The machine ran out of memory."),
        (RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has"), "The machine ran out of memory."),
        (ValueError("a secret path"), "The model stopped."),
    ],
)
def test_customers_are_told_no_internals_of_a_failing_step(error, told):
    from inference.engine.batching import _explain

    assert _explain(str(error)) == told


def test_an_engine_that_ran_out_of_memory_tells_all_and_lets_its_weights_go_though_they_still_hold_it(broken_engine):
    """Requests that failed hold their engine in their tracebacks while the next one is loaded in its place."""
    manager = broken_engine._manager
    weights = weakref.ref(manager.model)
    steps = count(1)

    def fail_at_the_tenth(*_args):
        if next(steps) >= 10:
            raise RuntimeError(OUT_OF_MEMORY)

    manager.model.lm_head.register_forward_pre_hook(fail_at_the_tenth)
    held = ask_at_once(broken_engine, [request(number, 5, 100) for number in range(2)])
    cache = weakref.ref(manager.batch_processor.cache)
    assert [str(error) for error in held] == ["The machine ran out of memory."] * 2
    assert all(error.__traceback__ is not None for error in held)
    wait_until(lambda: not broken_engine.is_alive())
    broken_engine.close()
    gc.collect()
    assert (weights(), cache()) == (None, None)
