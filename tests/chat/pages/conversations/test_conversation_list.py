"""What the menu of a conversation does: renaming, pinning, archiving, and deleting with a way back."""

from datetime import timedelta
from uuid import uuid4

import pytest
from django.urls import reverse
from django.utils import timezone

from chat import conversations
from chat.conversations import erase_deleted_conversations
from chat.models import Conversation, Message
from inference.models import Generation
from tests.support.cast import answered_talk, at_once

pytestmark = pytest.mark.django_db(transaction=True)
HTMX = {"HX-Request": "true", "HX-Current-URL": "http://testserver/"}
ACTIONS = ("pin", "unpin", "put_away", "take_back", "delete", "restore", "rename")


@pytest.fixture
def talk(client, alice, catalogue):
    client.force_login(alice)
    return answered_talk(alice, catalogue)


def act(client, name, talk, *, htmx=False, **fields):
    return client.post(reverse(f"chat:{name}", args=[talk.pk]), fields, headers=HTMX if htmx else {})


def text_of(client, path="/"):
    return client.get(path).content.decode()


def erase_now(talk):
    """As if the time for an undo were over."""
    Conversation.objects.filter(pk=talk.pk).update(deleted_at=timezone.now() - timedelta(hours=25))
    return erase_deleted_conversations()


def test_another_title_is_kept_and_the_place_in_the_list_too(client, talk):
    before = Conversation.objects.get().updated_at
    answer = act(client, "rename", talk, title="  Red\n foxes ", next=talk.get_absolute_url())
    assert answer["Location"] == talk.get_absolute_url()
    row = act(client, "rename", talk, htmx=True, title="🦊").content.decode()
    assert "🦊" in row
    assert Conversation.objects.get().title == "🦊"
    assert Conversation.objects.get().updated_at == before


@pytest.mark.parametrize(
    ("title", "words"),
    [
        ("", "Write a title of 1 to 80"),
        (" \n ", "Write a title of 1 to 80"),
        ("\u200b\u200d", "Write a title of 1 to 80"),
        ("x" * 500, "at most 80 characters. This one has 500."),
    ],
)
@pytest.mark.parametrize("htmx", [True, False])
def test_a_title_that_cannot_be_is_refused_with_words_and_kept_in_the_field(client, talk, title, words, htmx):
    answer = act(client, "rename", talk, htmx=htmx, title=title)
    assert answer.status_code == 422
    assert words in answer.content.decode()
    assert 'aria-invalid="true"' in answer.content.decode()
    assert title.strip() in answer.content.decode()
    assert answer.headers.get("HX-Reswap") == ("innerHTML" if htmx else None)
    assert Conversation.objects.get().title == "secret talk"


def test_a_pinned_conversation_stands_on_top_until_it_is_unpinned(client, talk):
    for _twice in range(2):
        assert ">Pinned<" in act(client, "pin", talk, htmx=True).content.decode()
    assert ">Unpin" in text_of(client).replace("\n", "").replace(" ", "")
    act(client, "unpin", talk)
    assert ">Pinned<" not in text_of(client)


def test_more_pins_than_can_be_shown_are_refused(client, talk, alice, catalogue, monkeypatch):
    monkeypatch.setattr(conversations, "MOST_PINNED", 1)
    act(client, "pin", talk)
    other = Conversation.objects.create(user=alice, model=catalogue, title="Other")
    refused = act(client, "pin", other)
    assert (refused.status_code, "Unpin another one first" in refused.content.decode()) == (409, True)
    assert act(client, "pin", other, htmx=True)["HX-Reswap"] == "none"
    assert Conversation.objects.get(pk=other.pk).pinned_at is None
    assert act(client, "pin", talk).status_code == 302  # again, which changes nothing


def test_an_archived_conversation_leaves_the_list_and_comes_back(client, talk):
    act(client, "pin", talk)
    answer = act(client, "put_away", talk, next="/credits/?deleted=x&page=2")
    assert answer["Location"] == f"/credits/?page=2&archived={talk.pk}"
    assert "secret talk" in text_of(client, f"/?archived={talk.pk}")  # the notice, with a way back
    assert "secret talk" not in text_of(client)
    assert "secret talk" in text_of(client, reverse("chat:archive"))
    assert client.get(talk.get_absolute_url()).status_code == 200
    act(client, "take_back", talk)
    assert "secret talk" in text_of(client)
    assert Conversation.objects.get().pinned_at is None


def test_a_deleted_conversation_is_nowhere_until_it_is_restored(client, talk, alice):
    message = talk.messages.last()
    for _twice in range(2):
        answer = act(client, "delete", talk, next=talk.get_absolute_url())
        assert answer["Location"] == f"/?deleted={talk.pk}"
    assert "secret talk" in text_of(client, answer["Location"])  # the notice, with a way back
    assert "secret talk" not in text_of(client)
    assert client.get(talk.get_absolute_url()).status_code == 404
    for name in set(ACTIONS) - {"delete", "restore"}:
        assert act(client, name, talk, title="x").status_code == 404, name
    for name, thing in (("events", message.generation_id), ("stop", message.generation_id), ("retry", message.pk)):
        path = reverse(f"chat:{name}", args=[thing])
        assert (client.get(path) if name == "events" else client.post(path)).status_code == 404, name
    for _twice in range(2):
        assert act(client, "restore", talk)["Location"] == talk.get_absolute_url()
    assert client.get(talk.get_absolute_url()).status_code == 200
    assert text_of(client, f"/?deleted={talk.pk}").count("Undo") == 0


def test_htmx_takes_the_row_away_and_brings_the_list_back(client, talk):
    gone = act(client, "delete", talk, htmx=True).content.decode()
    assert 'id="toasts" hx-swap-oob="innerHTML"' in " ".join(gone.split())
    assert reverse("chat:restore", args=[talk.pk]) in gone
    back = act(client, "restore", talk, htmx=True).content.decode()
    assert 'hx-swap-oob="true"' in back
    assert talk.get_absolute_url() in back


def test_deleting_the_conversation_that_is_open_leads_to_a_new_chat(client, talk):
    on_its_page = HTMX | {"HX-Current-URL": f"http://testserver{talk.get_absolute_url()}"}
    answer = client.post(reverse("chat:delete", args=[talk.pk]), headers=on_its_page)
    assert answer["HX-Redirect"] == f"/?deleted={talk.pk}"


def test_it_is_erased_after_a_day_with_its_words_and_the_books_stay(client, talk, faults):
    act(client, "delete", talk)
    assert erase_deleted_conversations() == 0
    assert erase_now(talk) == 1
    assert Conversation.objects.count() == Message.objects.count() == 0
    assert Generation.objects.get().text == ""
    assert act(client, "restore", talk).status_code == 404
    assert act(client, "delete", talk).status_code == 404
    assert faults() == []


def test_what_is_restored_at_the_moment_of_its_end_is_not_erased(client, talk, monkeypatch):
    act(client, "delete", talk)
    erase = conversations.erase_conversation

    def restore_then_erase(**words):
        conversations.restore_conversation(conversation=talk)
        return erase(**words)

    monkeypatch.setattr(conversations, "erase_conversation", restore_then_erase)
    assert erase_now(talk) == 0
    assert Conversation.objects.get().deleted_at is None


def test_a_conversation_is_not_deleted_under_an_answer(client, alice, send, catalogue):
    client.force_login(alice)
    send("What is a fox?")
    talk = Conversation.objects.get()
    refused = act(client, "delete", talk)
    assert (refused.status_code, "still being written" in refused.content.decode()) == (409, True)
    assert "still being written" in act(client, "delete", talk, htmx=True).content.decode()
    assert Conversation.objects.get().deleted_at is None


def test_clicks_at_the_same_moment_end_in_one_state(client, talk, alice, faults):
    for name in ("pin", "put_away", "delete", "restore"):
        answers = at_once(4, lambda _n: act(client, name, talk))  # noqa: B023  called at once
        assert {answer.status_code for answer in answers} == {302}
    assert Conversation.objects.get().deleted_at is None
    assert faults() == []


def test_charlie_gets_404_for_everything_of_alice(client, talk, charlie):
    client.force_login(charlie)
    for name in ACTIONS:
        assert act(client, name, talk, title="Mine").status_code == 404, name
    assert client.get(reverse("chat:rename", args=[talk.pk])).status_code == 404
    assert "secret" not in text_of(client, f"/?deleted={talk.pk}")
    act(client, "delete", Conversation.objects.create(user=charlie, model=talk.model, title="Own"))
    Conversation.objects.filter(pk=talk.pk).update(deleted_at=timezone.now())
    assert act(client, "restore", talk).status_code == 404
    assert "secret" not in text_of(client, f"/?deleted={talk.pk}")
    assert Conversation.objects.get(pk=talk.pk).title == "secret talk"


@pytest.mark.parametrize("next_page", ["https://evil.example/", "//evil.example/", "javascript:alert(1)", "x", "\\\\e"])
def test_a_form_leads_to_no_strangers_page(client, talk, next_page):
    assert act(client, "pin", talk, next=next_page)["Location"] == "/"


def test_a_broken_name_of_what_was_done_tells_nothing(client, talk):
    for query in ("deleted=x", f"deleted={uuid4()}", f"archived={talk.pk}", "archived="):
        assert "Undo" not in text_of(client, f"/?{query}")


def test_further_pages_come_as_part_of_the_list_and_as_a_page(client, talk):
    for nonsense in ("nonsense", f"253402300799000000-{'0' * 32}", f"-62135596800000000-{'0' * 32}"):
        assert client.get(reverse("chat:older"), {"before": nonsense}).status_code == 404
    before = f"9000000000000000-{'0' * 32}"
    part = client.get(reverse("chat:older"), {"before": before}, headers=HTMX).content.decode()
    assert (talk.get_absolute_url() in part, "<html" in part) == (True, False)
    page = text_of(client, f"{reverse('chat:older')}?before={before}")
    assert (talk.get_absolute_url() in page, "<html" in page) == (True, True)


def test_the_list_costs_one_query_on_a_page(client, talk, alice, catalogue, django_assert_num_queries):
    with django_assert_num_queries(8) as before:
        text_of(client)
    for number in range(60):
        Conversation.objects.create(user=alice, model=catalogue, title=f"Talk {number}")
    with django_assert_num_queries(len(before.captured_queries)):
        page = text_of(client)
    assert page.count('class="row-menu"') == 50


def test_a_form_that_names_no_page_leads_to_the_first_one(client, alice, catalogue):
    client.force_login(alice)
    talk = answered_talk(alice, catalogue)
    answer = client.post(reverse("chat:delete", args=[talk.pk]), {"next": "//"})
    assert answer["Location"] == f"/?deleted={talk.pk}"
