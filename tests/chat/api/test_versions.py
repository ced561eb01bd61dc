"""Versions of answers and prompts over REST: written again, edited, continued, selected, deleted, marked."""

from uuid import uuid4

import pytest
from kombu.exceptions import OperationalError

from billing.models import Hold, Wallet
from chat.models import Conversation, Message
from inference.catalogue import DEMO_KEY
from inference.generations import endings, requesting
from inference.models import Generation
from tests.chat.api import talks
from tests.chat.api.talks import prompt_of, texts
from tests.support.cast import at_once

pytestmark = pytest.mark.django_db(transaction=True)
OTHER = "smollm2-135m"
worker, alices, url, say = talks.worker, talks.alices, talks.url, talks.say


@pytest.fixture
def act(alices, url, worker):
    """Call it with a message and an action on it; the answer's body, once the answer was written."""

    def post(message, action, body=None, status=201, answered=True, **headers):
        answer = alices.post(f"{url}/messages/{message['id']}/{action}", body or {}, **headers)
        assert answer.status_code == status, answer.content
        if answered and status == 201:
            worker.serve(DEMO_KEY)
        return answer.json()

    return post


@pytest.fixture
def writes(monkeypatch):
    """Call it with the one word that answers consist of from now on."""
    return lambda word: monkeypatch.setattr("inference.engine.fake.WORDS", [word])


def shown(url):
    """The texts of the branch that is shown."""
    from chat.branches import shown_messages

    return [message.text for message in shown_messages(Conversation.objects.get(pk=url.rpartition("/")[2]))]


def asked(sent, catalogue):
    """What the model saw for an answer."""
    return prompt_of(sent["answer"]["generation"]["id"], catalogue)


def test_an_answer_is_written_again_and_later_prompts_see_the_new_one(
    alices, url, say, worker, catalogue, paid, faults, monkeypatch
):
    first = say()
    monkeypatch.setattr("inference.engine.fake.WORDS", ["Another"])
    again = alices.post(f"{url}/messages/{first['answer']['id']}/regenerate").json()
    assert again["prompt"] is None
    generation = again["answer"]["generation"]
    assert generation["prompt_tokens"] == first["answer"]["generation"]["prompt_tokens"]
    worker.serve(DEMO_KEY)
    third = alices.post(f"{url}/messages/{again['answer']['id']}/regenerate").json()  # of the new one too
    assert third["answer"]["generation"]["prompt_tokens"] == generation["prompt_tokens"]
    worker.serve(DEMO_KEY)
    assert len(texts(alices, url)) == 4
    last = say("And then?", answered=False)
    asked = prompt_of(last["answer"]["generation"]["id"], catalogue)
    assert asked.count("Another") == 6  # the last of the three answers, once
    assert "quick" not in asked
    assert paid()[0] == sum(hold.charged_microcredits or 0 for hold in Hold.objects.all())
    assert faults() == []


def test_an_answer_in_the_middle_is_written_again_and_what_followed_is_kept(
    alices, url, say, act, writes, catalogue, faults
):
    """An older answer's Retry once dropped the good answers after it from what the model saw."""
    first = say("What is a fox?")
    writes("Woof")
    second = say("And a dog?")
    writes("Again")
    again = act(first["answer"], "regenerate")
    assert shown(url) == ["What is a fox?", "Again Again Again Again Again Again"]
    assert again["answer"]["parent_id"] == first["prompt"]["id"]
    third = say("And a cat?", answered=False)
    assert "Again" in asked(third, catalogue)
    assert "dog" not in asked(third, catalogue)
    alices.post(f"{url}/stop")
    assert act(first["answer"], "select", status=200)["tip_id"] == second["answer"]["id"]
    fourth = say("And a bird?", answered=False)
    for word in ("quick brown", "dog", "Woof", "bird"):
        assert word in asked(fourth, catalogue)
    assert "Again" not in asked(fourth, catalogue)
    assert faults() == []


def test_another_model_may_write_it_again(alices, url, say, act, catalogue, faults):
    first = say(temperature=0.3, max_tokens=50)
    type(catalogue).objects.filter(key=OTHER).update(unavailable_reason="")
    again = act(first["answer"], "regenerate", {"model": OTHER}, answered=False)
    generation = again["answer"]["generation"]
    assert (generation["model"], generation["max_completion_tokens"]) == (OTHER, 50)
    assert generation["temperature"] != 0.3  # its own default
    assert alices.get(url).json()["model"] == OTHER
    alices.post(f"{url}/stop")
    act(first["answer"], "regenerate", {"model": "gpt-99"}, status=404)
    act(first["answer"], "regenerate", {"model": "gemma-3-12b"}, status=422)
    act(first["prompt"], "regenerate", status=404)
    assert faults() == []


def test_written_again_at_the_same_moment_it_is_charged_once(url, say, act, faults):
    first = say()
    headers = {"HTTP_IDEMPOTENCY_KEY": "again-1"}
    answers = at_once(5, lambda _n: act(first["answer"], "regenerate", answered=False, **headers)["answer"]["id"])
    assert len(set(answers)) == 1
    assert Generation.objects.count() == Hold.objects.count() == 2
    act(first["answer"], "regenerate", {"model": DEMO_KEY}, status=409, **headers)
    assert faults() == []


def test_an_edited_prompt_is_another_version_and_both_branches_stay(url, say, act, writes, catalogue, alices):
    first, second = say("What is a fox?"), say("And a dog?")
    writes("Meow")
    edited = say("And a cat?", in_place_of=second["prompt"]["id"])
    assert edited["prompt"]["parent_id"] == first["answer"]["id"]
    assert shown(url)[2:] == ["And a cat?", "Meow Meow Meow Meow Meow Meow"]
    anew = say("What is a wolf?", in_place_of=first["prompt"]["id"])
    assert anew["prompt"]["parent_id"] is None
    assert shown(url)[0] == "What is a wolf?"
    act(second["prompt"], "select", status=200)
    assert shown(url) == ["What is a fox?", texts(alices, url)[1], "And a dog?", texts(alices, url)[3]]
    last = say("More?", answered=False)
    assert "wolf" not in asked(last, catalogue)
    assert "dog" in asked(last, catalogue)


def test_an_edit_with_the_same_key_is_sent_once_and_another_place_conflicts(alices, url, say):
    first, second = say("One"), say("Two")
    key = {"HTTP_IDEMPOTENCY_KEY": "edit-1"}
    body = {"text": "Three", "in_place_of": second["prompt"]["id"]}
    sent = [alices.post(f"{url}/messages", body, **key).json()["answer"]["id"] for _twice in range(2)]
    assert sent[0] == sent[1]
    moved = body | {"in_place_of": first["prompt"]["id"]}
    assert alices.post(f"{url}/messages", moved, **key).json()["code"] == "idempotency_conflict"


def test_an_answer_that_reached_its_length_is_continued_as_one_text(alices, url, say, act, writes, catalogue, faults):
    first = say(max_tokens=3)
    assert first["answer"]["generation"]["max_completion_tokens"] == 3
    rest = act(first["answer"], "continue", answered=False)
    assert rest["prompt"] is None
    assert rest["answer"]["parent_id"] == first["answer"]["id"]
    assert asked(rest, catalogue).endswith("The quick brown")
    writes(" red")
    talks.Worker.serve(_worker_of(act), DEMO_KEY)
    more = act({"id": rest["answer"]["id"]}, "continue")
    then = say("And then?", answered=False)
    assert "The quick brown red red red red red red" in " ".join(asked(then, catalogue).split())
    assert more["answer"]["parent_id"] == rest["answer"]["id"]
    alices.post(f"{url}/stop")
    act(then["answer"], "continue", status=409)
    act(first["prompt"], "continue", status=404)
    assert faults() == []


def _worker_of(act):
    return next(cell.cell_contents for cell in act.__closure__ if isinstance(cell.cell_contents, talks.Worker))


def test_an_answer_that_ended_by_itself_is_not_continued(say, act):
    first = say()
    assert act(first["answer"], "continue", status=409)["code"] == "conflict"


def test_a_continuation_that_failed_is_tried_again_in_its_place(url, say, act, catalogue, faults):
    first = say(max_tokens=3)
    rest = act(first["answer"], "continue", answered=False)
    endings.fail_generation(generation_id=rest["answer"]["generation"]["id"], error="It broke.", text=" half")
    again = act(rest["answer"], "regenerate", answered=False)
    assert again["answer"]["parent_id"] == first["answer"]["id"]
    assert asked(again, catalogue).endswith("The quick brown")
    assert faults() == []


def test_a_deleted_exchange_takes_its_versions_along_and_what_follows_is_kept(
    alices, url, say, act, catalogue, paid, faults
):
    first = say("What is a fox?")
    second = say("And a dog?")
    act(second["answer"], "regenerate")
    third = say("And a cat?")
    before = paid()
    assert alices.delete(f"{url}/messages/{second['prompt']['id']}").status_code == 204
    assert [text for text in shown(url) if text.endswith("?")] == ["What is a fox?", "And a cat?"]
    assert Message.objects.get(pk=third["prompt"]["id"]).parent_id == first["answer"]["id"]
    assert Generation.objects.filter(text="").count() == 2
    assert paid() == before
    last = say("And then?", answered=False)
    assert "dog" not in asked(last, catalogue)
    alices.post(f"{url}/stop")
    assert alices.delete(f"{url}/messages/{first['answer']['id']}").status_code == 204  # by its answer too
    assert shown(url)[0] == "And a cat?"
    assert Message.objects.get(pk=third["prompt"]["id"]).is_first
    assert alices.delete(f"{url}/messages/{first['answer']['id']}").status_code == 404
    assert faults() == []


def test_once_the_end_is_deleted_another_version_is_shown_or_what_came_before(alices, url, say):
    first, second = say("One"), say("Two")
    edited = say("Three", in_place_of=second["prompt"]["id"])
    for prompt, left in ((edited, "Two"), (second, "One"), (first, None)):
        alices.delete(f"{url}/messages/{prompt['prompt']['id']}")
        assert (shown(url)[-2] if left else shown(url)) == (left or [])
    assert say("Anew")["prompt"]["parent_id"] is None


def test_the_text_of_a_deleted_answer_stays_where_another_conversation_shows_it(alices, url, say):
    first = say()
    alices.post(f"{url}/branch", {"message_id": first["answer"]["id"]})
    alices.delete(f"{url}/messages/{first['prompt']['id']}")
    assert Generation.objects.get().text != ""


def test_nothing_is_deleted_or_switched_under_an_answer(alices, url, say, act):
    first = say()
    say("Go on", answered=False)
    assert alices.delete(f"{url}/messages/{first['prompt']['id']}").status_code == 409
    act(first["prompt"], "select", status=409)
    assert Message.objects.count() == 4


def test_a_branch_of_a_deleted_branch_says_so_and_loses_nothing(alices, url, say):
    first, second = say("One"), say("Two")
    alices.delete(f"{url}/messages/{second['prompt']['id']}")
    refused = alices.post(f"{url}/messages", {"text": "Three", "in_place_of": second["prompt"]["id"]})
    assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
    assert "deleted meanwhile" in refused.json()["detail"]
    assert shown(url)[0] == first["prompt"]["text"]
    assert Hold.objects.count() == 2


def test_the_same_key_after_the_exchange_was_deleted_asks_nothing_again(alices, url):
    key = {"HTTP_IDEMPOTENCY_KEY": "k-1"}
    sent = alices.post(f"{url}/messages", {"text": "Hi"}, **key).json()
    alices.post(f"{url}/stop")
    alices.delete(f"{url}/messages/{sent['prompt']['id']}")
    assert alices.post(f"{url}/messages", {"text": "Hi"}, **key).status_code == 409
    assert Generation.objects.count() == 1


def test_a_queue_that_is_down_takes_back_the_tip_too(alices, url, say, alice, monkeypatch, faults):
    def refuse(_model_key):
        raise OperationalError("Connection refused")

    first, second = say("One"), say("Two")
    balance = Wallet.objects.get(user=alice).balance_microcredits
    with monkeypatch.context() as broken:
        broken.setattr(requesting, "send_ticket", refuse)
        for path, body in (
            ("messages", {"text": "Three", "in_place_of": first["prompt"]["id"]}),
            (f"messages/{first['answer']['id']}/regenerate", {}),
        ):
            assert alices.post(f"{url}/{path}", body).status_code == 503
            assert alices.get(url).json()["tip_id"] == second["answer"]["id"]
            assert Message.objects.count() == 4
    wallet = Wallet.objects.get(user=alice)
    assert (wallet.balance_microcredits, wallet.held_microcredits) == (balance, 0)
    assert faults() == []


def test_an_answer_that_another_tab_asked_for_stays_when_a_send_is_taken_back(alices, url, say, alice, monkeypatch):
    def refuse(_model_key):
        prompt = Message.objects.get(text="Three")
        Message.objects.create(conversation=prompt.conversation, role="assistant", imported_from="x", parent=prompt)
        raise OperationalError("Connection refused")

    say("One")
    with monkeypatch.context() as broken:
        broken.setattr(requesting, "send_ticket", refuse)
        assert alices.post(f"{url}/messages", {"text": "Three"}).status_code == 503
    assert Message.objects.filter(text="Three").exists()
    assert Message.objects.filter(imported_from="x").exists()


def test_answers_are_marked_and_prompts_are_not(alices, url, say):
    sent = say()
    message = f"{url}/messages/{sent['answer']['id']}"
    for rating in (1, -1, None):
        assert alices.patch(message, {"rating": rating}).json()["rating"] == rating
        assert Message.objects.get(pk=sent["answer"]["id"]).rating == rating
    for wrong in (0, 2, "good", True):
        assert alices.patch(message, {"rating": wrong}).status_code == 400
    assert alices.patch(f"{url}/messages/{sent['prompt']['id']}", {"rating": 1}).status_code == 404


def test_messages_say_what_they_follow_also_those_from_before_there_were_versions(alices, url, say):
    sent = say(), say("And a dog?")
    Message.objects.update(parent=None, is_first=False)
    Conversation.objects.update(tip=None)
    listed = alices.get(f"{url}/messages").json()["results"]
    ids = [message["id"] for message in listed]
    assert [message["parent_id"] for message in listed] == [None, *ids[:-1]]
    again = alices.post(f"{url}/messages/{sent[0]['answer']['id']}/regenerate").json()
    alices.post(f"{url}/stop")
    assert len(shown(url)) == 2
    alices.post(f"{url}/messages/{sent[0]['answer']['id']}/select")
    assert len(shown(url)) == 4
    alices.delete(f"{url}/messages/{sent[0]['prompt']['id']}")
    assert shown(url)[0] == "And a dog?"
    assert not Message.objects.filter(pk=again["answer"]["id"]).exists()


def test_a_branched_conversation_is_the_path_that_was_chosen(alices, url, say, act):
    first = say("One", max_tokens=3)
    rest = act(first["answer"], "continue")
    say("Two", in_place_of=first["prompt"]["id"])
    branch = alices.post(f"{url}/branch", {"message_id": rest["answer"]["id"]}).json()
    there = f"{talks.URL}/{branch['id']}"
    assert texts(alices, there) == shown(there)
    assert shown(there)[:2] == ["One", "The quick brown"]
    assert len(shown(there)) == 3


def test_charlie_gets_404_for_every_version_of_alice(alices, url, say, with_key, charlie):
    sent = say()
    charlies = with_key(charlie)
    own = charlies.post(talks.URL, {"model": DEMO_KEY}).json()["id"]
    for talk in (url, f"{talks.URL}/{own}", f"{talks.URL}/{uuid4()}"):
        message = f"{talk}/messages/{sent['answer']['id']}"
        for action in ("select", "continue", "regenerate"):
            assert charlies.post(f"{message}/{action}").status_code == 404
        assert charlies.patch(message, {"rating": 1}).status_code == charlies.delete(message).status_code == 404
    edit = charlies.post(f"{talks.URL}/{own}/messages", {"text": "x", "in_place_of": sent["prompt"]["id"]})
    assert edit.status_code == 409
    assert len(shown(url)) == 2
