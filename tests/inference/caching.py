"""A worker that counts what it is asked for, and requests that may be repeated: for the tests of the answer cache."""

from uuid import uuid4

import pytest

from inference.answer_cache import CacheUse
from inference.engine.fake import FakeEngine
from inference.generations.parameters import Caller, Parameters
from inference.generations.requesting import request_generation
from inference.models import GenerationState
from inference.prompting.prompts import Conversation, Turn
from inference.worker.worker import Worker
from tests.inference.engines import give_engine
from tests.support.databases.queue import clear_queue, forget_tickets

PROMPT, COMPLETION = 20, 40
CACHED_PROMPT, CACHED_COMPLETION = 2, 4


@pytest.fixture(scope="module", name="worker")
def caching_worker():
    return Worker()


@pytest.fixture(name="engine")
def counting_engine(worker):
    """The fake engine in the worker; `requests` is how many answers it was asked for."""

    class Counting(FakeEngine):
        requests = 0

        def write(self, request, on_delta):
            self.requests += 1
            return super().write(request, on_delta)

    return give_engine(worker, Counting(length=7))


@pytest.fixture(autouse=True)
def empty_queues(catalogue):
    clear_queue()
    yield
    clear_queue()
    forget_tickets(catalogue)


def ask(user, model, text="Tell me a story.", key=None, cache=CacheUse.PRIVATE, inputs_hash="test", **parameters):
    return request_generation(
        user=user,
        model=model,
        prompt=Conversation([Turn("user", text)]),
        parameters=Parameters(**({"max_tokens": 20, "temperature": 0} | parameters)),
        idempotency_key=key or str(uuid4()),
        inputs_hash=inputs_hash,
        caller=Caller(cache=cache),
    )


def full_price(generation):
    return generation.prompt_tokens * PROMPT + generation.completion_tokens * COMPLETION


def cache_price(generation):
    return generation.prompt_tokens * CACHED_PROMPT + generation.completion_tokens * CACHED_COMPLETION


def answered(worker, generation):
    worker.serve(generation.model_id)
    generation.refresh_from_db()
    assert generation.state == GenerationState.COMPLETED
    return generation


def read(generation):
    generation.refresh_from_db()
    return generation


def count_requests(engine, *generations):
    return engine.requests, [generation.is_from_cache for generation in generations]
