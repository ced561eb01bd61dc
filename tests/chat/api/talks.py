"""Conversations over REST, for the tests: alice's client, a conversation, and how to say something in it."""

import pytest

from inference.catalogue import DEMO_KEY
from inference.engine.fake import FakeEngine
from inference.models import Generation
from inference.prompting.prompts import _prompting_of
from inference.worker.worker import Worker
from tests.inference.engines import give_engine

URL = "/api/v1/conversations"


@pytest.fixture(scope="module")
def worker():
    worker = Worker()
    give_engine(worker, FakeEngine(length=6))
    return worker


@pytest.fixture
def alices(with_key, alice):
    client = with_key(alice)
    client.get("/api/v1/me")  # notes the key's use, once a minute
    return client


@pytest.fixture
def url(alices):
    """An empty conversation of alice."""
    opened = alices.post(URL, {"model": DEMO_KEY, "title": "Foxes"})
    assert opened.status_code == 201
    return f"{URL}/{opened.json()['id']}"


@pytest.fixture
def say(alices, url, worker):
    """Call it to send a prompt and have it answered; returns the exchange."""

    def send(text="What is a fox?", to=None, answered=True, **fields):
        sent = alices.post(f"{to or url}/messages", {"text": text, **fields})
        assert sent.status_code == 201, sent.content
        if answered:
            worker.serve(DEMO_KEY)
        return sent.json()

    return send


def texts(client, url):
    return [message["text"] for message in client.get(f"{url}/messages").json()["results"]]


def prompt_of(generation_id, tokenizer_model):
    """What was really asked, as text."""
    ids = Generation.objects.get(pk=generation_id).prompt_token_ids
    return _prompting_of(tokenizer_model).encoder.tokenizer.decode(ids, skip_special_tokens=True)
