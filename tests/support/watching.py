"""Streams of answers that the tests watch."""

from contextlib import ExitStack

import pytest

from inference.catalogue import DEMO_KEY
from inference.generations.endings import stop_generation
from inference.models import Generation

URL = "/api/v1/generations"
BODY = {"model": DEMO_KEY, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 400}


@pytest.fixture
def watched(http, engine):
    """An answer of alice that goes on for as long as a test may need it. Whatever is written ends with the test."""
    engine.length, engine.step_seconds = 1000, 0.1
    yield f"{URL}/{http.post(URL, json=BODY).json()['id']}/events"
    for generation in Generation.objects.live():
        stop_generation(generation=generation)


@pytest.fixture
def streams():
    """Closes what a test has left open."""
    with ExitStack() as stack:
        yield stack


def watch(http, url, headers=None):
    """A stream whose first line has come, or the refusal of it."""
    answer = http.send(http.build_request("GET", url, headers=headers), stream=True)
    if answer.status_code == 200:
        answer.lines = answer.iter_lines()  # kept: an iterator that is dropped closes the connection
        next(answer.lines)
    else:
        answer.read()
    return answer


def open_streams(http, url, count, streams):
    """As many streams; each closes with the test."""
    opened = [watch(http, url) for _ in range(count)]
    for answer in opened:
        streams.callback(answer.close)
    return opened
