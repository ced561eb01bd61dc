"""Asking engines in tests of what all of them promise: the fake ones, and the real one on tiny random models."""

import time
from concurrent.futures import ThreadPoolExecutor

from inference.engine.base import EngineError, EngineRequest, Sampling
from inference.engine.fake import FakeEngine
from tests.inference.engines import write

GREEDY = Sampling(temperature=0.0)


def make_engine_of(kind, tiny_models):
    """The fake engine ("fake"), that of the benchmarks ("paced"), or a real one: a name and a precision."""
    if kind == "fake":
        return FakeEngine(step_seconds=0.002)
    if kind == "paced":
        from benchmarks.engines import ThirtyTokensASecond  # imports torch

        return ThirtyTokensASecond()
    return make_engine(tiny_models, *kind)


def make_engine(tiny_models, name="Gemma3ForCausalLM", precision="auto"):
    from inference.engine.batching import BatchingEngine
    from inference.engine.precision import can_int8

    if precision == "int8" and not can_int8():
        precision = "float32"
    return BatchingEngine(tiny_models[name], precision=precision)


def ask_at_once(engine, requests):
    """The deltas of each request, or the error that ended it, all running together."""

    def run(request):
        try:
            return write(engine, request)
        except EngineError as error:
            return error

    with ThreadPoolExecutor(len(requests)) as pool:
        return list(pool.map(run, requests))


def ask(engine, name, max_tokens=12, sampling=GREEDY, stop=(), **options):
    prompt = [2, 105, 364, 107, 925, 106, 107]  # ids that every tokenizer here has
    return write(engine, EngineRequest(name, prompt, max_tokens, sampling, stop, **options))


def tokens_of(engine, request):
    """What the engine draws for a request, before it becomes text."""
    drawn, deliver = {}, engine._manager.output_router.deliver_batch

    def note(outputs):
        drawn.update((output.request_id, output.generated_tokens) for output in outputs)
        deliver(outputs)

    engine._manager.output_router.deliver_batch = note
    try:
        write(engine, request)
    finally:
        engine._manager.output_router.deliver_batch = deliver
    return drawn[request.id]


def text_of(deltas):
    return "".join(delta.text for delta in deltas)


def wait_until(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)
