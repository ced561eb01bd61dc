"""What costs more than a page is limited on the pages too, for each person, with a page that says when to come back."""

import time

import pytest
from asgiref.sync import sync_to_async
from django.urls import reverse

from core.async_queries import in_thread
from tests.support.cast import answered_talk


@pytest.fixture
def one_minute(monkeypatch):
    """No minute ends in the middle of a test."""
    now = time.time() // 60 * 60 + 20
    monkeypatch.setattr("accounts.callers.page_limits.time.time", lambda: now)


@pytest.fixture
def at_most(settings):
    def limit(what, count):
        settings.PAGE_LIMITS = settings.PAGE_LIMITS | {what: count}

    return limit


def statuses(count, ask):
    return [ask().status_code for _ in range(count)]


def test_estimates_searches_and_files_have_limits_of_their_own(client, alice, bob, catalogue, at_most, one_minute):
    answered_talk(alice, catalogue)
    draft = {"model": catalogue.key, "text": "x" * 1000}
    asked = {
        "estimates": lambda: client.post(reverse("chat:estimate_new"), draft),
        "searches": lambda: client.get(reverse("chat:search"), {"q": "fox"}),
    }
    client.force_login(alice)
    for what, ask in asked.items():
        at_most(what, 2)
        assert statuses(3, ask) == [200, 200, 429], what
    refused = asked["searches"]()
    assert 1 <= int(refused["Retry-After"]) <= 60
    assert f"{refused['Retry-After']} seconds" in refused.content.decode()
    part = client.post(reverse("chat:estimate_new"), draft, headers={"HX-Request": "true"})
    assert (part.status_code, part["HX-Retarget"]) == (429, "#compose-error")  # beside the draft, which stays
    assert "That was a lot at once." in part.content.decode()
    assert client.get(reverse("chat:search")).status_code == 200  # a page without words is no search
    assert client.get(reverse("billing:overview"), {"text": "fox"}).status_code == 429  # the same kind of work
    client.force_login(bob)
    assert client.get(reverse("chat:search"), {"q": "fox"}).status_code == 200


@pytest.mark.django_db(transaction=True)
async def test_streams_of_an_answer_and_files_are_limited(async_client, alice, catalogue, at_most, one_minute):
    talk = await sync_to_async(answered_talk)(alice, catalogue)
    answer = await talk.messages.order_by("-pk").afirst()
    await async_client.aforce_login(alice)

    async def read(url):
        response = await async_client.get(url)
        if response.streaming:
            assert [piece async for piece in response.streaming_content]
        return response.status_code

    for what, url in (
        ("streams", reverse("chat:events", args=[answer.generation_id])),
        ("exports", reverse("billing:export_csv")),
    ):
        at_most(what, 2)
        assert [await read(url) for _ in range(3)] == [200, 200, 429], what
    await in_thread(lambda: None)  # gives back the connection of the middleware around the last one


def test_without_redis_the_pages_stay_open(client, alice, at_most, monkeypatch):
    monkeypatch.setattr("accounts.callers.page_limits.count_in_minute", lambda *_counted: None)
    at_most("searches", 0)
    client.force_login(alice)
    assert client.get(reverse("chat:search"), {"q": "fox"}).status_code == 200
