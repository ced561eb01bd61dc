"""Answers through nginx: they arrive as they are written, over both versions of HTTP, also while nginx reloads."""

import json
import re
import subprocess
import time
from itertools import pairwise

import httpx
import psutil
import pytest

from inference.catalogue import DEMO_KEY
from inference.models import Generation, GenerationState
from tests.support.cast import PASSWORD
from tests.support.nginx import needs_nginx
from tests.support.openai_clients import price
from tests.support.stack import wait_until

pytestmark = [needs_nginx, pytest.mark.django_db(transaction=True)]

HELLO = [{"role": "user", "content": "Hello"}]
BODY = {"model": DEMO_KEY, "messages": HELLO, "stream": True}
WORDS, PACE_SECONDS = 8, 0.25


@pytest.fixture
def slow(engine):
    """Answers of two seconds."""
    engine.length, engine.step_seconds = WORDS, PACE_SECONDS
    return engine


@pytest.fixture
def client(site, visit, http):
    """HTTP/1.1 with a key of alice, as the official client of OpenAI."""
    return visit(site, headers={"Authorization": http.headers["Authorization"]})


def log_in(client, email):
    """As a browser does, with its cookies."""
    form = client.get("/accounts/login/").text
    token = re.search('name="csrfmiddlewaretoken" value="([^"]+)"', form)[1]
    page = {"Referer": f"{client.base_url}/accounts/login/"}
    body = {"login": email, "password": PASSWORD, "csrfmiddlewaretoken": token}
    return client.post("/accounts/login/", data=body, headers=page)


def arrivals(answer):
    """When each event came, and their text."""
    times, text = [], ""
    for line in answer.iter_lines():
        if line.startswith("data:"):
            times.append(time.monotonic())
        text += f"{line}\n"
    return times, text


def demand_as_written(times):
    """The events came over about the time in which they were written; held back, they would come together."""
    assert len(times) >= WORDS
    assert times[-1] - times[0] > PACE_SECONDS * (WORDS - 2)
    assert max(later - earlier for earlier, later in pairwise(times)) < PACE_SECONDS * 4


def test_a_stream_of_the_openai_api(client, slow, paid):
    with client.stream("POST", "/v1/chat/completions", json=BODY) as answer:
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        assert "Content-Encoding" not in answer.headers  # though the client takes gzip
        assert "gzip" in answer.request.headers["Accept-Encoding"]
        times, text = arrivals(answer)
    demand_as_written(times)
    assert text.endswith("data: [DONE]\n\n")
    assert paid() == (price(Generation.objects.get()), 0)


def test_the_same_over_http_2(site, client, slow):
    command = [
        *("curl", "--silent", "--no-buffer", "--http2", "--cacert", site.certificate, "--max-time", "30"),
        *("--header", f"Authorization: {client.headers['Authorization']}", "--json"),
        json.dumps(BODY),
        *("--write-out", "over HTTP/%{http_version}", f"{site.url}/v1/chat/completions"),
    ]
    times, text = [], ""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as curl:
        for line in curl.stdout:
            if line.startswith("data:"):
                times.append(time.monotonic())
            text += line
    demand_as_written(times)
    assert text.endswith("data: [DONE]\n\nover HTTP/2")


def test_events_of_the_rest_api(client, slow):
    begun = client.post("/api/v1/generations", json={"model": DEMO_KEY, "messages": HELLO})
    assert begun.status_code in (201, 202)
    with client.stream("GET", f"/api/v1/generations/{begun.json()['id']}/events") as answer:
        times, _text = arrivals(answer)
    demand_as_written(times)


def test_events_of_a_page_for_a_person_who_logged_in_over_https(site, visit, slow, alice):
    person = visit(site)
    assert log_in(person, alice.email).status_code == 302
    page = person.get("/").text
    form = dict(re.findall('<input[^>]*name="([^"]+)"[^>]*value="([^"]*)"', page))
    sent = person.post("/send/", data=form | {"text": "Hello", "model": DEMO_KEY}, headers={"Referer": f"{site.url}/"})
    assert sent.status_code in (200, 302), sent.text
    generation = Generation.objects.get()
    with person.stream("GET", f"/g/{generation.pk}/events/") as answer:
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        times, _text = arrivals(answer)
    assert times[-1] - times[0] > PACE_SECONDS * (WORDS - 3)


def test_a_reload_of_nginx_lets_streams_finish(site, client, slow):
    slow.length = 12
    with client.stream("POST", "/v1/chat/completions", json=BODY) as answer:
        lines = answer.iter_lines()
        next(lines)
        before = workers_of(site)
        site.reload()
        wait_until(lambda: workers_of(site) - before, 10, "the new processes")
        assert httpx.get(f"{site.plain_url}/nginx-health", headers={"Host": "any"}).text == "ok\n"
        text = "\n".join(lines)
    assert "[DONE]" in text
    wait_until(lambda: not workers_of(site) & before, 10, "the old processes to end")


def test_a_client_that_leaves_pays_for_what_was_written(client, slow, paid, faults):
    slow.length = 400
    with client.stream("POST", "/v1/chat/completions", json=BODY) as answer:
        next(answer.iter_lines())
    wait_until(lambda: not Generation.objects.live().exists(), 10, "the end")
    generation = Generation.objects.get()
    assert generation.state in (GenerationState.STOPPED, GenerationState.CANCELLED)
    assert generation.completion_tokens < 40
    assert paid()[1] == 0
    assert faults() == []


def test_pages_are_compressed(site, visit):
    page = visit(site).get("/accounts/login/")
    assert page.headers["Content-Encoding"] == "gzip"


def workers_of(site):
    """nginx's worker processes."""
    return set(psutil.Process(site.process.pid).children())
