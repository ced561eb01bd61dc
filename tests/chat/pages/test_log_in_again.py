"""The log-in or the form's token goes while a page lives on: the whole window logs in again, and nothing is lost."""

import re

import pytest
from django.contrib.sessions.models import Session
from django.test import Client
from django.urls import reverse

from chat.models import Message
from inference.catalogue import DEMO_KEY
from inference.generations import endings
from inference.generations.parameters import Parameters
from inference.models import CatalogueModel, Generation
from tests.chat.pages.browser import ask, hide, path_of
from tests.support.cast import PASSWORD, answered_talk
from tests.support.stack import wait_until

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume"),  # WhiteNoise's files, as in config.asgi
]
LOGIN = re.compile(r"/accounts/login/\?next=(%2F|/)c(%2F|/)")
DRAFT = "A long thought\n  with a second line"


@pytest.fixture
def talk(alice):
    return answered_talk(alice, CatalogueModel.objects.get(key=DEMO_KEY))


def log_out_elsewhere(page):
    Session.objects.all().delete()


def lose_all_cookies(page):
    page.context.clear_cookies()


def type_a_word(page):
    page.press("#prompt", "End")
    page.keyboard.type("!")


def send(page):
    page.click("#composer .go")


def stop(page):
    page.click("[data-stop]")


def retry(page):
    page.click("text=Retry")


def log_in(page):
    page.fill("[name=login]", "alice@example.com")
    page.fill("[name=password]", PASSWORD)
    page.click("button[type=submit]")


@pytest.mark.parametrize("loss", [log_out_elsewhere, lose_all_cookies])
@pytest.mark.parametrize("act", [type_a_word, send, stop, retry])
def test_whatever_the_page_asks_the_whole_window_logs_in_and_comes_back_with_the_draft(
    open_page, alice, talk, engine, act, loss
):
    page = open_page(alice, path_of(talk))
    if act is stop:
        engine.step_seconds, engine.length = 0.1, 200
        ask(page, "Go on")
        page.wait_for_selector("[data-stop]")
    if act is retry:
        endings.fail_generation(generation_id=fail_the_last(talk).pk, error="The machine stopped.")
        page.reload()
    page.fill("#prompt", DRAFT)
    page.wait_for_selector("#estimate:has-text('credits')")
    loss(page)
    act(page)
    page.wait_for_selector(".door [name=login]")  # two requests may lead there, the second ending the first's way
    assert LOGIN.search(page.url)
    log_in(page)
    page.wait_for_url(re.compile(f"{path_of(talk)}$"))
    assert page.input_value("#prompt").startswith(DRAFT)
    if act is stop:
        page.click("[data-stop]")
        page.locator(".turn.it .receipt").last.wait_for()


def fail_the_last(talk):
    """Another answer in the conversation, which is running."""
    from chat.messages import send_message

    exchange = send_message(
        user=talk.user,
        conversation=talk,
        model=talk.model,
        text="Fail",
        parameters=Parameters(max_tokens=400),
        idempotency_key="fail",
    )
    return exchange.answer.generation


def test_a_stream_that_is_taken_up_after_the_log_in_is_gone_logs_in(open_page, alice, talk, engine):
    engine.step_seconds, engine.length = 0.1, 100
    page = open_page(alice, path_of(talk))
    answer = ask(page, "Go on")
    wait_until(lambda: len(answer.locator(".said").inner_text()) > 20, 10, "some text")
    hide(page, True)
    Session.objects.all().delete()
    hide(page, False)
    page.wait_for_url(LOGIN)


def test_a_page_older_than_the_log_in_is_loaded_anew_with_its_draft(open_page, alice, talk):
    page = open_page(alice, path_of(talk))
    page.fill("#prompt", DRAFT)
    page.wait_for_selector("#estimate:has-text('credits')")
    other = page.context.new_page()
    page.context.clear_cookies()
    other.goto("/accounts/login/")
    log_in(other)
    other.wait_for_selector("#composer")
    with page.expect_navigation():
        page.click("#composer .go")
    assert page.input_value("#prompt") == DRAFT
    page.click("#composer .go")
    page.wait_for_selector(".turn.me:has-text('A long thought')")
    assert Message.objects.filter(text=DRAFT).count() == 1


def test_a_draft_belongs_to_its_conversation_and_its_user_and_goes_when_it_is_sent(open_page, alice, charlie, talk):
    page = open_page(alice, path_of(talk))
    page.fill("#prompt", DRAFT)
    page.goto("/")
    assert page.input_value("#prompt") == ""
    page.fill("#prompt", "Another")
    page.goto(path_of(talk))
    assert page.input_value("#prompt") == DRAFT
    ask(page, "Sent")
    page.locator(".turn.it .receipt").nth(1).wait_for()
    page.reload()
    assert page.input_value("#prompt") == ""
    page.goto("/")
    assert page.input_value("#prompt") == "Another"
    page.press("#prompt", "Enter")
    page.wait_for_url(re.compile("/c/"))
    page.goto("/")
    assert page.input_value("#prompt") == ""


def test_whoever_logs_out_leaves_no_draft_behind(open_page, alice, talk):
    page = open_page(alice, path_of(talk))
    page.fill("#prompt", DRAFT)
    page.click(".account summary")
    page.click("text=Log out")
    page.wait_for_url(re.compile("/accounts/login/"))
    assert page.evaluate("Object.keys(localStorage)") == []


def test_a_form_without_scripts_leads_back_to_its_page_after_the_log_in(client, alice, talk):
    for name, args in (("send", [talk.pk]), ("stop", [talk.messages.last().generation_id])):
        asked_from = {"Referer": f"http://testserver{path_of(talk)}"}
        response = client.post(reverse(f"chat:{name}", args=args), {"text": "x"}, headers=asked_from)
        assert (response.status_code, response["Location"]) == (
            302,
            f"/accounts/login/?next={path_of(talk).replace('/', '%2F')}",
        )


def test_no_other_site_is_led_to_after_the_log_in(client, catalogue):
    for headers in (
        {"Referer": "https://evil.example/c/"},
        {"HX-Request": "true", "HX-Current-URL": "https://evil.example/"},
    ):
        response = client.post(reverse("chat:send_new"), headers=headers)
        url = response.headers.get("Location") or response.headers["HX-Redirect"]
        assert url == "/accounts/login/?next=%2F"


@pytest.mark.parametrize("htmx", [True, False])
def test_a_form_whose_token_is_gone_is_told_so_in_our_own_words(alice, htmx):
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(alice)
    response = strict.post(reverse("chat:send_new"), {"text": "x"}, headers={"HX-Request": "true"} if htmx else {})
    assert response.status_code == 403
    assert response.headers.get("HX-Refresh") == ("true" if htmx else None)
    assert b"This page was too old" in response.content or htmx
    assert Generation.objects.count() == 0


def test_an_error_page_is_never_put_into_a_part_of_a_page(client, charlie, talk):
    client.force_login(charlie)
    response = client.post(reverse("chat:estimate", args=[talk.pk]), headers={"HX-Request": "true"})
    assert (response.status_code, response["HX-Reswap"], response["HX-Refresh"]) == (404, "none", "true")
