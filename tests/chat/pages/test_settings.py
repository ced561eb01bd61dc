"""The settings of a conversation: what is chosen is used, kept, priced, and refused when it cannot be."""

from typing import Any
from uuid import uuid4

import pytest
from django.conf import settings
from django.test import Client
from django.urls import reverse

from accounts.models import User
from chat.models import Conversation
from inference.catalogue import DEMO_KEY
from inference.models import CatalogueModel, Generation
from tests.support.cast import answered_talk

pytestmark = pytest.mark.django_db(transaction=True)
CHOSEN = {"temperature": 0.5, "top_p": 0.9, "top_k": 20, "min_p": 0.1, "repetition_penalty": 1.2, "max_tokens": 30}
ROLE = "You are a fox, and answer as a fox would."


@pytest.fixture
def talk(client: Client, alice: User, catalogue: CatalogueModel) -> Conversation:
    """A conversation of alice, who is logged in."""
    client.force_login(alice)
    return answered_talk(alice, CatalogueModel.objects.get(key=DEMO_KEY))


def test_what_is_chosen_is_used_and_kept(client: Client, alice: User, catalogue: Any, send: Any) -> None:
    client.force_login(alice)
    send("What are you?", system_prompt=ROLE, seed=7, **CHOSEN)
    generation = Generation.objects.get()
    assert {name: getattr(generation, name) for name in CHOSEN if name != "max_tokens"} == {
        name: value for name, value in CHOSEN.items() if name != "max_tokens"
    }
    assert (generation.seed, generation.max_completion_tokens) == (7, 30)
    talk = Conversation.objects.get()
    assert (talk.system_prompt, talk.parameters) == (ROLE, CHOSEN | {"seed": 7})
    page = client.get(talk.get_absolute_url()).content.decode()
    assert ROLE in page
    assert 'name="top_k" value="20"' in page


def test_the_model_is_told_the_system_prompt(talk: Conversation, send: Any) -> None:
    send("And a dog?")
    send("And a dog?", system_prompt=ROLE)
    without, with_it = Generation.objects.order_by("created_at")[1:]
    assert with_it.prompt_tokens > without.prompt_tokens + 8


def test_an_empty_form_leaves_all_to_the_model_again(talk: Conversation, send: Any) -> None:
    Conversation.objects.filter(pk=talk.pk).update(system_prompt=ROLE, parameters={"temperature": 0})
    send("And a dog?", to=talk, system_prompt=" \n", temperature="")
    talk.refresh_from_db()
    assert (talk.system_prompt, talk.parameters) == ("", {})


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"temperature": "5"}, "Temperature: "),
        ({"temperature": "nan"}, "Temperature: "),
        ({"top_p": "0"}, "Top-p is above 0"),
        ({"top_k": "1.5"}, "Top-k: "),
        ({"min_p": "1"}, "Min-p is at least 0"),
        ({"repetition_penalty": "0.5"}, "Repetition penalty: "),
        ({"max_tokens": "0"}, "Longest answer: "),
        ({"max_tokens": "9" * 5_000}, "Longest answer: "),
        ({"seed": "-1"}, "Seed: "),
        ({"system_prompt": "x" * (settings.PROMPT_MAX_CHARACTERS + 1)}, "The system prompt has"),
    ],
)
def test_what_cannot_be_is_refused_by_its_name(talk: Conversation, send: Any, fields: Any, words: str) -> None:
    for htmx in (True, False):
        response = send("And a dog?", to=talk, htmx=htmx, **fields)
        assert response.status_code == 422
        assert words in response.content.decode()
    assert (Generation.objects.count(), talk.messages.count()) == (1, 2)
    talk.refresh_from_db()
    assert (talk.system_prompt, talk.parameters) == ("", {})


def test_settings_that_became_invalid_do_not_shut_the_page(client: Client, talk: Conversation, send: Any) -> None:
    """A limit may be lowered after they were chosen, and a file may bring anything."""
    too_long = "x" * (settings.PROMPT_MAX_CHARACTERS + 1)
    Conversation.objects.filter(pk=talk.pk).update(system_prompt=too_long, parameters={"temperature": 7})
    assert client.get(talk.get_absolute_url()).status_code == 200
    assert send("And a dog?", to=talk).status_code == 422
    assert send("And a dog?", to=talk, system_prompt="", temperature="").status_code == 302


def test_a_refused_message_keeps_what_was_chosen(talk: Conversation, send: Any) -> None:
    page = send("And a dog?", to=talk, system_prompt=ROLE, temperature="5").content.decode()
    assert "And a dog?" in page
    assert ROLE in page
    assert 'name="temperature" value="5"' in page


def test_a_key_that_comes_with_another_system_prompt_is_refused(talk: Conversation, send: Any) -> None:
    key = uuid4()
    assert send("And a dog?", to=talk, key=key).status_code == 302
    assert send("And a dog?", to=talk, key=key, system_prompt=ROLE).status_code == 409
    assert Generation.objects.count() == 2


def test_the_estimate_counts_the_system_prompt_and_the_longest_answer(client: Client, talk: Conversation) -> None:
    def most(**fields: Any) -> float:
        data = {"text": "And a dog?", "model": DEMO_KEY, "idempotency_key": uuid4(), **fields}
        words = client.post(reverse("chat:estimate", args=[talk.pk]), data).content.decode()
        return float(words.partition("at most ")[2].split()[0])

    assert most(max_tokens=20) < most() < most(system_prompt=ROLE * 40)


def test_empty_numbers_show_what_the_model_does(client: Client, talk: Conversation) -> None:
    page = client.get(talk.get_absolute_url()).content.decode()
    assert f'placeholder="{settings.DEFAULT_MAX_TOKENS}"' in page
    assert 'placeholder="0.95"' in page
