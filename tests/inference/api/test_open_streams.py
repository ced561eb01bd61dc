"""How many streams one person may watch at the same time, and that a place is free as soon as its stream ends."""

import os
import signal
import subprocess
import sys
from contextlib import closing

import pytest
import redis
from django.conf import settings as django_settings
from django.test import Client
from django.urls import reverse

from chat.messages import send_message
from inference.catalogue import DEMO_KEY
from inference.generations.parameters import Parameters
from inference.models import CatalogueModel, Generation
from inference.relay import open_streams as places
from tests.support.stack import wait_until
from tests.support.watching import BODY, URL, open_streams, watch

pytestmark = pytest.mark.django_db(transaction=True)


def is_served(http, url, **options):
    with closing(watch(http, url, **options)) as answer:
        return answer.status_code == 200


def test_the_thirteenth_stream_of_one_person_is_refused_until_another_one_closes(http, watched, streams):
    opened = open_streams(http, watched, 12, streams)
    assert [answer.status_code for answer in opened] == [200] * 12
    refused = watch(http, watched)
    assert refused.status_code == 429
    assert (refused.json()["code"], refused.headers["Retry-After"]) == ("rate_limited", "5")
    assert refused.headers["Content-Type"] == "application/problem+json"
    assert refused.json()["detail"].startswith("12 streams at once are allowed here")
    opened[3].close()
    wait_until(lambda: is_served(http, watched), 2, "the place to be free")


def test_a_stream_that_ends_by_itself_frees_its_place(http, engine, settings):
    settings.MAX_OPEN_STREAMS_OF_USER = 1
    for _ in range(3):
        url = f"{URL}/{http.post(URL, json=BODY).json()['id']}/events"
        assert "event: done" in wait_until(lambda url=url: (r := http.get(url)).status_code == 200 and r.text, 2, "it")


def test_another_person_and_new_answers_of_v1_are_not_touched(http, ai, watched, streams, charlie, key_of, settings):
    settings.MAX_OPEN_STREAMS_OF_USER = 1
    open_streams(http, watched, 1, streams)
    assert watch(http, watched).status_code == 429
    for path in (watched, watched.removesuffix("/events")):  # asking how an answer stands is no stream
        assert http.head(path).status_code == 200
    others = {"Authorization": f"Bearer {key_of(charlie)}"}
    asked = http.post(URL, json=BODY, headers=others).json()["id"]
    assert is_served(http, f"{URL}/{asked}/events", headers=others)
    written = ai.chat.completions.create(
        model=DEMO_KEY, messages=[{"role": "user", "content": "Hi"}], max_tokens=2, stream=True
    )
    assert len(list(written)) >= 2


def test_pages_and_programs_share_the_places_and_the_page_says_when_to_come_back(
    http, watched, streams, alice, settings
):
    settings.MAX_OPEN_STREAMS_OF_USER = 1
    exchange = send_message(
        user=alice,
        conversation=None,
        model=CatalogueModel.objects.get(key=DEMO_KEY),
        text="Hello",
        parameters=Parameters(max_tokens=400),
        idempotency_key="page",
    )
    page = reverse("chat:events", args=[exchange.answer.generation_id])
    browser = Client()
    browser.force_login(alice)
    name = django_settings.SESSION_COOKIE_NAME
    cookie = {"Cookie": f"{name}={browser.cookies[name].value}"}
    opened = open_streams(http, watched, 1, streams)
    refused = watch(http, page, headers=cookie)
    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "5")
    assert "Try again in 5 seconds." in refused.text
    opened[0].close()
    wait_until(lambda: is_served(http, page, headers=cookie), 2, "the page's turn")
    with closing(watch(http, page, headers=cookie)):
        assert watch(http, watched).status_code == 429
    assert Generation.objects.live().count() == 2  # both go on meanwhile


WATCHER = """
import asyncio, django
django.setup()
from accounts.models import User
from inference.relay import open_streams

open_streams.LEASE_SECONDS, open_streams.RENEW_SECONDS = 2, 0.5

async def silence():
    while True:
        yield b"x"
        await asyncio.sleep(0.1)

async def watch():
    place = await asyncio.to_thread(open_streams.take_slot, User(pk={user}))
    async for _piece in open_streams.keep_slot(place, silence()):
        print("watching", flush=True)

asyncio.run(watch())
"""


def test_a_web_process_that_is_killed_frees_its_places_after_some_seconds(
    http, watched, streams, settings, alice, monkeypatch
):
    settings.MAX_OPEN_STREAMS_OF_USER = 2
    monkeypatch.setattr(places, "LEASE_SECONDS", 2)
    monkeypatch.setattr(places, "RENEW_SECONDS", 0.5)
    open_streams(http, watched, 1, streams)  # served by another process, which lives
    environment = os.environ | {"CACHE_REDIS_URL": settings.CACHE_REDIS_URL}
    process = subprocess.Popen(
        [sys.executable, "-c", WATCHER.format(user=alice.pk)], env=environment, stdout=subprocess.PIPE
    )
    try:
        for _ in range(40):  # twice as long as a lease
            assert process.stdout.readline() == b"watching\n"
        assert watch(http, watched).status_code == 429  # it was renewed
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert watch(http, watched).status_code == 429
    wait_until(lambda: is_served(http, watched), 4, "the lease to end")
    open_streams(http, watched, 1, streams)
    assert watch(http, watched).status_code == 429  # the other one is still there


def test_with_redis_away_nobody_is_refused(http, watched, streams, settings, monkeypatch):
    settings.MAX_OPEN_STREAMS_OF_USER = 1
    open_streams(http, watched, 1, streams)
    with monkeypatch.context() as patch:
        dead = redis.Redis(port=1, socket_connect_timeout=0.1)
        patch.setattr(places, "connection", lambda: dead)
        assert is_served(http, watched)
    assert watch(http, watched).status_code == 429
