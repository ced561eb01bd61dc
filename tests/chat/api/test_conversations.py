"""Conversations over REST: the same ones as on the pages."""

from datetime import timedelta
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from django.utils import timezone

from billing.models import Hold
from chat.conversations import erase_deleted_conversations
from chat.models import Conversation, Message
from inference.catalogue import DEMO_KEY
from inference.models import Generation, GenerationState
from tests.chat.api import talks
from tests.chat.api.talks import URL, prompt_of, texts
from tests.support.cast import at_once

pytestmark = pytest.mark.django_db(transaction=True)
worker, alices, url, say = talks.worker, talks.alices, talks.url, talks.say


def test_a_conversation_is_opened_renamed_listed_and_deleted(alices, url):
    assert alices.get(url).json()["title"] == "Foxes"
    assert alices.patch(url, {"title": " Red  foxes "}).json()["title"] == "Red foxes"
    assert [item["title"] for item in alices.get(URL).json()["results"]] == ["Red foxes"]
    assert alices.delete(url).status_code == 204
    assert alices.get(url).status_code == alices.delete(url).status_code == 404
    assert alices.get(URL).json()["results"] == alices.get(f"{URL}?q=foxes").json()["results"] == []


def test_a_deleted_conversation_can_be_restored(alices, url, with_key, charlie):
    alices.delete(url)
    assert alices.patch(url, {"title": "x"}).status_code == 404
    assert with_key(charlie).patch(url, {"is_deleted": False}).status_code == 404
    for _twice in range(2):
        assert alices.patch(url, {"is_deleted": False}).json()["title"] == "Foxes"
    assert alices.get(url).status_code == 200
    assert alices.patch(url, {"is_deleted": True}).status_code == 200
    assert alices.get(url).status_code == 404


def test_a_change_that_is_refused_changes_nothing(alices, url, say):
    alices.delete(url)
    assert alices.patch(url, {"is_deleted": False, "title": " "}).status_code == 400
    assert alices.get(url).status_code == 404
    alices.patch(url, {"is_deleted": False})
    say(answered=False)
    assert alices.patch(url, {"title": "Dogs", "is_deleted": True}).status_code == 409
    assert alices.get(url).json()["title"] == "Foxes"


def test_conversations_are_pinned_and_archived(alices, url, monkeypatch):
    assert alices.patch(url, {"is_pinned": True}).json()["pinned_at"]
    assert len(alices.get(f"{URL}?is_pinned=true").json()["results"]) == 1
    changed = alices.patch(url, {"is_archived": True}).json()
    assert (changed["pinned_at"], bool(changed["archived_at"])) == (None, True)
    assert alices.get(f"{URL}?is_archived=false").json()["results"] == []
    monkeypatch.setattr("chat.conversations.MOST_PINNED", 0)
    refused = alices.patch(url, {"title": "Wolves", "is_pinned": True})
    assert (refused.status_code, alices.get(url).json()["title"]) == (409, "Foxes")
    assert alices.patch(url, {"is_archived": False, "is_pinned": False}).json()["archived_at"] is None


def test_a_link_is_made_listed_read_and_revoked(alices, url, say, client, with_key, charlie):
    assert alices.post(f"{url}/links").status_code == 409  # there is nothing to read
    say()
    link = alices.post(f"{url}/links", {"days": None}).json()
    path = urlsplit(link["url"]).path
    assert (link["expires_at"], client.get(path).status_code) == (None, 200)
    assert [one["id"] for one in alices.get(f"{url}/links").json()["results"]] == [link["id"]]
    assert with_key(charlie).get(f"{url}/links").status_code == 404
    assert with_key(charlie).delete(f"{url}/links/{link['id']}").status_code == 404
    for _twice in range(2):
        assert alices.delete(f"{url}/links/{link['id']}").status_code == 204
    assert client.get(path).status_code == 410
    for days in (0, 366, "7", 1.5):
        assert alices.post(f"{url}/links", {"days": days}).status_code == 400


def test_an_export_has_all_of_it(alices, url, say, with_key, charlie):
    say()
    export = alices.get(f"{url}/export").json()
    assert [message["text"] for message in export["messages"]] == ["What is a fox?", "The quick brown fox jumps over"]
    assert export["shown"] == 2
    assert with_key(charlie).get(f"{url}/export").status_code == 404


def test_renaming_keeps_its_place_in_the_list(alices, url):
    alices.post(URL, {"model": DEMO_KEY})
    alices.patch(url, {"title": "Wolves"})
    assert [item["title"] for item in alices.get(URL).json()["results"]] == ["New chat", "Wolves"]


@pytest.mark.parametrize("title", ["", "   ", "x" * 81, 5, None, "nul\x00"])
def test_titles_that_cannot_be_kept_are_refused(alices, url, title):
    assert alices.patch(url, {"title": title}).status_code == 400
    assert alices.get(url).json()["title"] == "Foxes"


def test_the_list_is_searched_and_filtered(alices, url, say, django_assert_num_queries):
    say("Tell me of wolves")
    alices.post(URL, {"model": "gemma-3-1b", "title": "Bears"})
    for query, found in (("q=wolves", 1), ("q=bear", 1), ("q=zebra", 0), ("model=gemma-3-1b", 1), ("", 2)):
        with django_assert_num_queries((6 + (found > 0)) if query.startswith("q=") else 2):
            assert len(alices.get(f"{URL}?{query}").json()["results"]) == found


def test_a_message_is_sent_answered_and_listed_with_its_cost(alices, url, say, faults, django_assert_num_queries):
    sent = say(max_tokens=50, temperature=0, seed=3)
    assert (sent["prompt"]["text"], sent["answer"]["text"]) == ("What is a fox?", "")
    assert sent["answer"]["generation"]["state"] == "queued"
    with django_assert_num_queries(4):
        prompt, answer = alices.get(f"{url}/messages").json()["results"]
    assert (prompt["role"], prompt["generation"]) == ("user", None)
    assert (answer["role"], answer["text"]) == ("assistant", "The quick brown fox jumps over")
    generation = answer["generation"]
    assert (generation["max_completion_tokens"], generation["temperature"], generation["seed"]) == (50, 0.0, 3)
    assert generation["charged_microcredits"] == generation["prompt_tokens"] * 20 + 6 * 40
    assert faults() == []


def test_another_model_may_be_asked_but_not_an_unknown_one(alices, url, say):
    say(model=DEMO_KEY)
    assert alices.post(f"{url}/messages", {"text": "x", "model": "gpt-99"}).status_code == 404
    assert alices.post(f"{url}/messages", {"text": "x", "model": "gemma-3-12b"}).status_code == 422
    assert len(texts(alices, url)) == 2


@pytest.mark.parametrize(
    "fields", [{"text": ""}, {"text": 5}, {}, {"text": "x", "max_tokens": 0}, {"text": "x", "a": 1}]
)
def test_messages_that_make_no_sense_are_refused(alices, url, fields):
    assert alices.post(f"{url}/messages", fields).status_code == 400
    assert Message.objects.count() == Hold.objects.count() == 0


def test_blank_messages_are_refused(alices, url):
    for text in ("  \n", "\x07\x1b"):
        assert alices.post(f"{url}/messages", {"text": text}).status_code in (400, 422)
    assert Message.objects.count() == 0


def test_a_second_message_waits_for_the_first_answer(alices, url, say):
    say(answered=False)
    refused = alices.post(f"{url}/messages", {"text": "And a dog?"})
    assert (refused.status_code, refused.json()["code"]) == (409, "conflict")


def test_stop_ends_what_is_being_written_and_again_does_nothing(alices, url, say, paid, faults):
    assert alices.post(f"{url}/stop").status_code == 204
    say(answered=False)
    for _twice in range(2):
        assert alices.post(f"{url}/stop").status_code == 204
    assert Generation.objects.get().state == GenerationState.CANCELLED
    assert paid() == (0, 0)
    assert faults() == []


def test_the_same_key_sends_once(alices, url, faults):
    key = {"HTTP_IDEMPOTENCY_KEY": "send-1"}
    answers = at_once(5, lambda _n: alices.post(f"{url}/messages", {"text": "Hi"}, **key))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["answer"]["id"] for answer in answers}) == 1
    assert Message.objects.count() == 2
    for other in ({"text": "Ho"}, {"text": "Hi", "max_tokens": 7}):
        refused = alices.post(f"{url}/messages", other, **key)
        assert (refused.status_code, refused.json()["code"]) == (409, "idempotency_conflict")
    assert alices.post(f"{url}/messages", {"text": "Hi"}, HTTP_IDEMPOTENCY_KEY="x" * 256).status_code == 400
    assert faults() == []


def test_an_answer_is_not_written_again_while_it_is_written(alices, url, say):
    sent = say(answered=False)
    assert alices.post(f"{url}/messages/{sent['answer']['id']}/regenerate").status_code == 409


def test_a_branch_after_an_answer_goes_on_from_there_and_costs_nothing(alices, url, say, catalogue, paid, faults):
    first = say("What is a fox?")
    say("And a dog?")
    before = paid()
    branch = alices.post(f"{url}/branch", {"message_id": first["answer"]["id"]})
    assert branch.status_code == 201
    there = f"{URL}/{branch.json()['id']}"
    assert texts(alices, there) == ["What is a fox?", "The quick brown fox jumps over"]
    assert len(texts(alices, url)) == 4
    assert paid() == before
    sent = say("And a cat?", to=there, answered=False)
    asked = prompt_of(sent["answer"]["generation"]["id"], catalogue)
    assert "cat" in asked
    assert "dog" not in asked
    assert faults() == []


def test_a_branch_at_a_prompt_leaves_room_for_another(alices, url, say):
    say("What is a fox?")
    second = say("And a dog?")
    branch = alices.post(f"{url}/branch", {"message_id": second["prompt"]["id"]}).json()
    assert texts(alices, f"{URL}/{branch['id']}") == ["What is a fox?", "The quick brown fox jumps over"]


def test_a_branch_of_an_unfinished_answer_is_refused(alices, url, say):
    sent = say(answered=False)
    assert alices.post(f"{url}/branch", {"message_id": sent["answer"]["id"]}).status_code == 409
    assert alices.post(f"{url}/branch", {"message_id": sent["prompt"]["id"]}).status_code == 201  # before it
    assert alices.post(f"{url}/branch", {"message_id": 10**6}).status_code == 404


def test_a_branch_outlives_its_origin_and_is_shown_on_its_page(alices, url, say, client, alice):
    first = say()
    branch = alices.post(f"{url}/branch", {"message_id": first["answer"]["id"]}).json()
    alices.delete(url)
    assert texts(alices, f"{URL}/{branch['id']}") == ["What is a fox?", "The quick brown fox jumps over"]
    client.force_login(alice)
    assert "The quick brown fox" in client.get(f"/c/{branch['id']}/").content.decode()


def test_deleting_removes_the_words_and_keeps_the_books(alices, url, say, paid, faults):
    say()
    before = paid()
    assert before[0] > 0
    assert alices.delete(url).status_code == 204
    Conversation.objects.update(deleted_at=timezone.now() - timedelta(hours=25))
    assert erase_deleted_conversations() == 1
    generation = Generation.objects.get()
    assert (generation.text, generation.state) == ("", GenerationState.COMPLETED)
    assert Message.objects.count() == 0
    assert paid() == before
    assert faults() == []


def test_a_conversation_is_not_deleted_under_an_answer(alices, url, say):
    say(answered=False)
    assert alices.delete(url).status_code == 409
    alices.post(f"{url}/stop")
    assert alices.delete(url).status_code == 204


def test_charlie_gets_404_for_everything_of_alice(alices, url, say, with_key, charlie):
    sent = say()
    charlies = with_key(charlie)
    answer = sent["answer"]["id"]
    assert charlies.get(url).status_code == charlies.delete(url).status_code == 404
    assert charlies.patch(url, {"title": "Mine"}).status_code == 404
    assert charlies.get(f"{url}/messages").status_code == 404
    assert charlies.post(f"{url}/messages", {"text": "Mine"}).status_code == 404
    assert charlies.post(f"{url}/messages/{answer}/regenerate").status_code == 404
    assert charlies.post(f"{url}/stop").status_code == 404
    assert charlies.post(f"{url}/branch", {"message_id": answer}).status_code == 404
    own = charlies.post(URL, {"model": DEMO_KEY}).json()["id"]
    assert charlies.post(f"{URL}/{own}/branch", {"message_id": answer}).status_code == 404
    assert charlies.post(f"{URL}/{own}/messages/{answer}/regenerate").status_code == 404
    assert [item["id"] for item in charlies.get(URL).json()["results"]] == [own]
    assert alices.get(f"{URL}/{uuid4()}").status_code == 404
    assert texts(alices, url) == ["What is a fox?", "The quick brown fox jumps over"]


def test_a_key_without_the_scope_reads_nothing(url, with_key, alice):
    assert with_key(alice, "usage:read").get(url).status_code == 403
