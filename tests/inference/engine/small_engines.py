"""Engines with little memory."""

import pytest

from inference.engine.base import EngineRequest, Sampling
from tests.inference.engines import write

GREEDY = Sampling(temperature=0.0)
PAGE = 32  # as many tokens as the tiny models' sliding window has


def make_small_engine(folder):
    """A real engine whose cache holds three sectors: one each for the windows of two requests and one that they share,
    or all of one request of 128 tokens."""
    from inference.engine.batching import BatchingEngine

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("inference.engine.loading.PAGE_TOKENS", PAGE)
        return BatchingEngine(folder, precision="float32", cache_tokens=2 * PAGE)


def request(number, prompt_tokens, max_tokens, sampling=GREEDY, stop=()):
    prompt = [2, *((7 * number + place) % 5000 + 500 for place in range(prompt_tokens - 1))]
    return EngineRequest(f"request-{number}-{max_tokens}", prompt, max_tokens, sampling, stop, max_seconds=60)


def count_set_backs(engine):
    """Let every request that the library sets back leave a mark in the list that is returned."""
    write(engine, request(99, 3, 1))  # the scheduler is there now
    offloading = engine._manager.batch_processor.offloading_manager
    marks, scheduler, set_back = [], engine._manager.batch_processor.scheduler, offloading.offload_requests

    def record():
        before = set(scheduler.active_requests)
        done = set_back()
        marks.extend(before - set(scheduler.active_requests))
        return done

    offloading.offload_requests = record
    return marks
