"""Generations over REST while a worker writes them: events, coming back, cancelling."""

import json
import time

import pytest
from django.db import connection

from inference.api import events as api_events
from inference.catalogue import DEMO_KEY
from inference.models import Generation
from inference.relay import streams
from tests.support.cast import at_once
from tests.support.databases.redis_admin import admin
from tests.support.openai_clients import price
from tests.support.stack import wait_until

pytestmark = pytest.mark.django_db(transaction=True)

URL = "/api/v1/generations"
BODY = {"model": DEMO_KEY, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 30}


def test_cancelling_a_running_answer_costs_what_came(http, engine, paid, faults):
    engine.length, engine.step_seconds = 1000, 0.05
    asked = http.post(URL, json=BODY | {"max_tokens": 400}).json()
    wait_until(lambda: streams.read_text(asked["id"])[1] >= 3, 5, "some tokens")
    http.post(f"{URL}/{asked['id']}/cancel")
    got = wait_until(
        lambda: (got := http.get(f"{URL}/{asked['id']}").json())["state"] == "stopped" and got, 1, "the end"
    )
    assert 3 <= got["completion_tokens"] < 100
    assert got["charged_microcredits"] == price(Generation.objects.get()) == paid()[0]
    assert faults() == []


def events_of(text):
    """Events as (name, id, data)."""
    found = []
    for block in text.split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.splitlines() if line and not line.startswith(":"))
        if "event" in lines:
            found.append((lines["event"], lines.get("id", ""), json.loads(lines["data"])))
    return found


def test_events_tell_the_answer_as_it_grows_and_end_with_the_whole(http, engine, faults):
    engine.length, engine.step_seconds = 12, 0.05
    asked = http.post(URL, json=BODY).json()
    events = events_of(http.get(f"{URL}/{asked['id']}/events").text)
    texts = [(event_id, data) for name, event_id, data in events if name == "text"]
    assert len(texts) >= 3
    assert all(event_id for event_id, _data in texts)
    name, _id, ended = events[-1]
    assert (name, ended["state"]) == ("done", "completed")
    assert "".join(data["text"] for _id, data in texts) == ended["text"]
    assert texts[-1][1]["completion_tokens"] == ended["completion_tokens"] == 12
    assert ended == http.get(f"{URL}/{asked['id']}").json()
    assert faults() == []


def test_the_head_of_events_is_answered_at_once_and_without_them(http, engine):
    engine.length, engine.step_seconds = 1000, 0.05
    asked = http.post(URL, json=BODY | {"max_tokens": 400}).json()
    answer = http.head(f"{URL}/{asked['id']}/events", timeout=3)
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "text/event-stream")
    assert http.get(f"{URL}/{asked['id']}").json()["state"] in ("queued", "running")
    http.post(f"{URL}/{asked['id']}/cancel")


def test_a_reader_who_comes_back_misses_nothing_and_repeats_nothing(http, engine):
    engine.length, engine.step_seconds = 20, 0.1
    asked = http.post(URL, json=BODY).json()
    url, seen, last_id = f"{URL}/{asked['id']}/events", "", ""
    with http.stream("GET", url) as answer:
        for line in answer.iter_lines():
            if line.startswith("id: "):
                last_id = line.removeprefix("id: ")
            if line.startswith("data: ") and '"text"' in line:
                seen += json.loads(line.removeprefix("data: "))["text"]
                if "fox" in seen:
                    break
    events = events_of(http.get(url, headers={"Last-Event-ID": last_id}).text)
    seen += "".join(data["text"] for name, _id, data in events if name == "text")
    assert seen == events[-1][2]["text"]
    assert events[-1][2]["completion_tokens"] == 20  # leaving did not stop it


@pytest.mark.parametrize("last_event_id", ["", "nonsense;drop", "9" * 40 + "-0"])
def test_events_of_an_ended_answer_are_read_from_the_database(http, engine, last_event_id):
    asked = http.post(URL, json=BODY).json()
    wait_until(lambda: http.get(f"{URL}/{asked['id']}").json()["state"] == "completed", 5, "the end")
    admin().flushdb()
    events = events_of(http.get(f"{URL}/{asked['id']}/events", headers={"Last-Event-ID": last_event_id}).text)
    assert [name for name, _id, _data in events] == ["text", "done"]
    assert events[0][2]["text"] == events[1][2]["text"]


def test_a_reader_of_a_queued_answer_is_told_how_many_are_ahead(http, engine, alice):
    engine.length, engine.step_seconds = 1000, 0.05
    ids = [http.post(URL, json=BODY | {"max_tokens": 60}).json()["id"] for _n in range(10)]  # 8 threads serve
    with http.stream("GET", f"{URL}/{ids[-1]}/events") as answer:
        status = next(line for line in answer.iter_lines() if line.startswith("data: "))
    assert json.loads(status.removeprefix("data: "))["state"] == "queued"
    for generation_id in ids:
        http.post(f"{URL}/{generation_id}/cancel")


def test_events_hold_no_database_connection(http, engine, monkeypatch):
    engine.length, engine.step_seconds = 1000, 0.05
    look = api_events._look  # slowly, so that each of the readers needs a thread of its own
    monkeypatch.setattr(api_events, "_look", lambda generation_id: (look(generation_id), time.sleep(0.3))[0])
    asked = http.post(URL, json=BODY | {"max_tokens": 300}).json()
    request = http.build_request("GET", f"{URL}/{asked['id']}/events")

    def connections():
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()")
            return cursor.fetchone()[0]

    opened = at_once(10, lambda _n: http.send(request, stream=True))
    for answer in opened:
        next(answer.iter_lines())
    wait_until(lambda: connections() <= 3, 5, "the connections to be given back")
    for answer in opened:
        answer.close()
    http.post(f"{URL}/{asked['id']}/cancel")
