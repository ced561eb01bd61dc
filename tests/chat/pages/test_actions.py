"""Actions on messages without a browser: what is refused, other people's messages, long conversations."""

import re
from uuid import uuid4

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from billing.models import Hold
from chat.models import Conversation, Message
from chat.pages.turns import PAGE_MESSAGES, read_shown
from inference.models import Generation
from tests.support.cast import answered_talk, at_once

pytestmark = pytest.mark.django_db(transaction=True)
HTMX = {"HX-Request": "true"}


@pytest.fixture
def talk(client, alice, catalogue):
    client.force_login(alice)
    return answered_talk(alice, catalogue)


def fill(talk, count):
    """Add this many prompts to a conversation, each after the one before."""
    last = talk.messages.last()
    first_id = last.pk + 1
    Message.objects.bulk_create(
        Message(pk=first_id + n, conversation=talk, role="user", text=f"prompt {n}", parent_id=first_id + n - 1)
        for n in range(count)
    )
    Conversation.objects.filter(pk=talk.pk).update(tip=first_id + count - 1)


def test_a_conversation_of_2000_messages_asks_as_few_questions_as_one_of_two(client, talk, django_assert_num_queries):
    with django_assert_num_queries(12):
        client.get(talk.get_absolute_url())
    fill(talk, 1998)
    with django_assert_num_queries(12):
        page = client.get(talk.get_absolute_url()).content.decode()
    assert page.count("<article") == PAGE_MESSAGES
    assert "Show earlier (1950 messages)" in page
    assert "prompt 1997" in page


def test_earlier_messages_come_in_pages_until_there_are_none(client, talk):
    fill(talk, 118)
    talk.refresh_from_db()
    seen, before = [], None
    while True:
        shown = read_shown(talk, before)
        seen = [turn.text for turn in shown.turns] + seen
        if not shown.earlier:
            break
        before = shown.turns[0].first.pk
        fragment = client.get(f"{talk.get_absolute_url()}?before={before}", headers=HTMX).content.decode()
        assert "<html" not in fragment
        page = client.get(f"{talk.get_absolute_url()}?before={before}").content.decode()
        assert "Show the latest messages" in page
    assert seen == ["secret question", "secret answer", *(f"prompt {n}" for n in range(118))]


@pytest.mark.parametrize("before", ["", "x", "-1", "9" * 30, "1", "٣"])
def test_a_place_that_is_none_shows_the_end(client, talk, before):
    page = client.get(talk.get_absolute_url(), {"before": before}).content.decode()
    assert "secret answer" in page


def test_an_answer_is_not_shown_without_its_prompt(client, talk):
    fill(talk, PAGE_MESSAGES - 1)
    talk.refresh_from_db()
    assert [turn.text for turn in read_shown(talk).turns][:2] == ["secret question", "secret answer"]


def test_forms_ask_few_questions(client, talk):
    prompt, answer, counts = talk.messages.first(), talk.messages.last(), {}
    for name in ("retry", "continue", "edit", "delete_exchange"):
        url = reverse(f"chat:{name}", args=[prompt.pk if name == "edit" else answer.pk])
        with CaptureQueriesContext(connection) as queries:
            assert client.get(url, headers=HTMX).status_code == 200
        counts[name] = len(queries)
    assert counts == {"retry": 12, "continue": 9, "edit": 9, "delete_exchange": 3}


def test_a_double_click_on_regenerate_is_charged_once(client, talk, faults):
    url = reverse("chat:retry", args=[talk.messages.last().pk])
    key = uuid4()
    answers = at_once(5, lambda _n: client.post(url, {"idempotency_key": key}))
    assert {answer.status_code for answer in answers} == {302}
    assert Generation.objects.count() == Hold.objects.count() == 2
    assert faults() == []


def test_a_broke_customer_is_told_before_anything_changes(client, bob, catalogue, talk):
    Conversation.objects.update(user=bob)
    client.force_login(bob)
    url = reverse("chat:retry", args=[talk.messages.last().pk])
    refused = client.post(url, {"idempotency_key": uuid4()}, headers=HTMX)
    assert refused.status_code == 402
    assert reverse("billing:buy") in refused.content.decode()
    assert (talk.messages.count(), Generation.objects.count()) == (2, 1)


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("retry", {}),
        ("retry", {"idempotency_key": "x"}),
        ("retry", {"idempotency_key": uuid4(), "model": "gpt-99"}),
        ("continue", {}),
        ("rate", {"rating": "5"}),
        ("rate", {"rating": "good"}),
    ],
)
def test_forms_that_are_broken_change_nothing(client, talk, name, fields):
    answer = talk.messages.last()
    for headers in ({}, HTMX):
        response = client.post(reverse(f"chat:{name}", args=[answer.pk]), fields, headers=headers)
        assert response.status_code == 422
        assert "Reload the page" in response.content.decode()
    answer.refresh_from_db()
    assert answer.rating is None
    assert Generation.objects.count() == 1


@pytest.mark.parametrize("fields", [{"seen": "9" * 30}, {"in_place_of": "9" * 30}, {"in_place_of": "-1"}])
def test_a_place_that_is_not_there_keeps_the_draft(client, talk, send, fields):
    refused = send("My long thought", to=talk, **fields)
    assert refused.status_code == 409
    assert "My long thought" in refused.content.decode()
    assert talk.messages.count() == 2


def test_an_edit_that_is_refused_does_not_wipe_the_form(client, talk, send):
    send("Go on", to=talk)
    prompt = talk.messages.first()
    refused = send("My long thought", to=talk, htmx=True, in_place_of=prompt.pk)
    assert refused.status_code == 409
    assert 'id="turns"' not in refused.content.decode()


def test_an_edit_that_is_refused_without_javascript_keeps_its_form_and_its_text(client, talk, send):
    prompt = talk.messages.first()
    refused = send("My long thought " * 9_000, to=talk, in_place_of=prompt.pk)
    words = refused.content.decode()
    assert refused.status_code == 422
    assert f'name="in_place_of" value="{prompt.pk}"' in words
    assert "My long thought </textarea>" in words
    assert 'class="note bad"' in words
    assert 'id="composer"' not in words
    prompt.refresh_from_db()
    assert "My long thought" not in prompt.text


def test_what_an_edited_text_costs_is_said_without_javascript_before_it_is_sent(client, talk):
    prompt = talk.messages.first()
    url, key = reverse("chat:edit", args=[prompt.pk]), talk.model.key
    costs = []
    for text in ("a word", "many words " * 300):
        page = client.post(url, {"text": text, "model": key, "in_place_of": prompt.pk}).content.decode()
        assert f"{text}</textarea>" in page
        costs.append(re.search(r"about (\S+) credits, at most (\S+)", page).groups())
    assert costs[0] != costs[1]
    assert "credits, at most" not in client.post(url, {"text": " ", "model": key}).content.decode()
    assert client.post(url, {"text": "a", "model": "no such model"}).status_code == 200
    prompt.refresh_from_db()
    assert prompt.text != "a word"
    assert talk.messages.count() == 2


def test_a_prompt_is_neither_written_again_nor_continued_nor_marked(client, talk):
    prompt = talk.messages.first()
    for name in ("retry", "continue", "rate"):
        assert client.post(reverse(f"chat:{name}", args=[prompt.pk])).status_code == 404


def test_a_message_that_never_was_is_404(client, talk):
    for number in (10**6, 10**30):
        assert client.get(f"/m/{number}/edit/").status_code == 404
        gone = client.get(f"/m/{number}/edit/", headers=HTMX)
        assert (gone.status_code, gone["HX-Retarget"]) == (404, "#compose-error")


def test_charlie_gets_404_for_every_action_on_messages_of_alice(client, talk, charlie):
    client.force_login(charlie)
    for message in talk.messages.all():
        for name in ("retry", "continue", "edit", "delete_exchange", "select", "rate"):
            url = reverse(f"chat:{name}", args=[message.pk])
            for headers in ({}, HTMX):
                response = client.post(url, {"idempotency_key": uuid4(), "rating": 1}, headers=headers)
                assert response.status_code == 404
                assert b"secret" not in response.content
            if name not in ("select", "rate"):
                assert client.get(url).status_code == 404
    assert talk.messages.count() == 2
    assert Generation.objects.count() == 1
