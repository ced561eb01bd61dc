"""A page whose stream is refused, since its user watches enough already, says so calmly and shows the answer later."""

from contextlib import closing

import pytest

from inference.catalogue import DEMO_KEY
from inference.models import CatalogueModel, Generation
from tests.chat.pages.browser import ask, hide, path_of
from tests.support import openai_clients, watching
from tests.support.cast import answered_talk
from tests.support.stack import wait_until
from tests.support.watching import URL, open_streams, watch

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume"),  # WhiteNoise's files, as in config.asgi
]
__all__ = ["http", "key_of", "streams", "watched"]
http, key_of = openai_clients.http, openai_clients.key_of
streams, watched = watching.streams, watching.watched
CALM = "The answer goes on, but cannot be shown right now."


@pytest.fixture
def talk(alice):
    return answered_talk(alice, CatalogueModel.objects.get(key=DEMO_KEY))


@pytest.fixture
def occupied(http, watched, streams):
    """All twelve places of alice, by a program of hers."""
    return open_streams(http, watched, 12, streams)


def is_full(http, generation):
    with closing(watch(http, f"{URL}/{generation.pk}/events")) as answer:
        return answer.status_code == 429


def test_a_refused_page_shows_the_answer_from_where_it_is_once_a_place_is_free(open_page, alice, talk, http, occupied):
    page = open_page(alice, path_of(talk))
    answer = ask(page, "Go on")
    line = answer.get_by_text(CALM)
    line.wait_for()
    assert page.locator(".note.bad").count() == 0
    generation = Generation.objects.order_by("created_at").last()
    page.wait_for_timeout(6000)  # refused again
    assert is_full(http, generation)
    assert line.is_visible()
    assert generation.is_live
    occupied[0].close()
    wait_until(lambda: len(answer.locator(".said").inner_text()) > 20, 10, "the text so far")
    assert not line.is_visible()
    page.click("[data-stop]")
    answer.locator(".receipt").wait_for()


def test_an_answer_that_ended_meanwhile_is_shown_with_its_receipt(open_page, alice, talk, occupied):
    page = open_page(alice, path_of(talk))
    answer = ask(page, "Go on")
    answer.get_by_text(CALM).wait_for()
    page.click("[data-stop]")
    generation = Generation.objects.order_by("created_at").last()
    wait_until(lambda: not Generation.objects.live().filter(pk=generation.pk).exists(), 5, "the end")
    occupied[0].close()
    answer.locator(".receipt").wait_for(timeout=10_000)
    generation.refresh_from_db()
    assert answer.locator(".said").inner_text().split() == generation.text.split()


def test_a_page_that_is_closed_frees_its_place_at_once(open_page, alice, talk, http, engine, settings):
    settings.MAX_OPEN_STREAMS_OF_USER = 1
    engine.length, engine.step_seconds = 1000, 0.1
    page = open_page(alice, path_of(talk))
    answer = ask(page, "Go on")
    wait_until(lambda: len(answer.locator(".said").inner_text()) > 20, 10, "some text")
    generation = Generation.objects.order_by("created_at").last()
    assert is_full(http, generation)
    page.close()
    wait_until(lambda: not is_full(http, generation), 2, "the place")
    http.post(f"{URL}/{generation.pk}/cancel")


def test_a_tab_that_is_shown_again_and_refused_goes_on_after_its_last_event(
    open_page, alice, talk, http, watched, streams, settings
):
    settings.MAX_OPEN_STREAMS_OF_USER = 1
    page = open_page(alice, path_of(talk))
    asked = []
    page.on("request", lambda request: asked.append(request.url) if "/events/" in request.url else None)
    answer = ask(page, "Go on")
    said = answer.locator(".said")
    wait_until(lambda: len(said.inner_text()) > 20, 10, "some text")
    before = said.inner_text()
    hide(page, True)
    occupied = wait_until(lambda: (one := watch(http, watched)).status_code == 200 and one, 2, "the place of the tab")
    streams.callback(occupied.close)
    hide(page, False)
    answer.get_by_text(CALM).wait_for()
    assert said.inner_text().startswith(before)  # what was shown stays
    occupied.close()
    wait_until(lambda: len(said.inner_text()) > len(before) + 20, 10, "more text")
    assert said.inner_text().startswith(before)
    assert "?after=" in asked[-1]
    assert asked[-1] == asked[-2]
