"""Conversations as files: what is written can be read again, and other products' files too."""

import io
import json
import zipfile
from contextlib import suppress
from uuid import uuid4

import pytest
from django.db import IntegrityError, transaction
from django.urls import reverse
from django.utils import timezone

from chat import messages
from chat.branches import read_branches, shown_messages
from chat.conversations import branch_conversation
from chat.models import Conversation, Message
from chat.transfer import formats
from chat.transfer.exporting import write_json, write_markdown
from chat.transfer.formats import UnreadableFile, read_file
from inference.catalogue import DEMO_KEY
from inference.models import CatalogueModel, Generation
from tests.support.cast import answered_talk, at_once

pytestmark = pytest.mark.django_db(transaction=True)


def node(key, parent, role, *parts, **fields):
    message = {"author": {"role": role}, "content": {"content_type": "text", "parts": [*parts]}, **fields}
    return {key: {"id": key, "parent": parent, "children": [], "message": message}}


CHATGPT = {
    "title": "Herons",
    "create_time": 1700000000.5,
    "update_time": 1700000100.5,
    "current_node": "e",
    "mapping": {
        "root": {"id": "root", "parent": None, "children": ["s"], "message": None},
        **node("s", "root", "system", ""),
        **node("a", "s", "user", "What is a heron?", create_time=1700000001),
        **node("b", "a", "assistant", "A bird.", metadata={"model_slug": "gpt-4o"}),
        **node("t", "a", "tool", "searched"),
        **node("c", "t", "assistant", "A tall bird.", {"asset_pointer": "x"}),
        **node("d", "c", "user", "How tall?"),
        **node("e", "d", "assistant", "One metre."),
    },
}
WEBUI = {
    "id": "x",
    "title": "Storks",
    "created_at": 1700000000,
    "updated_at": 1700000100,
    "chat": {
        "title": "Storks",
        "history": {
            "currentId": "2",
            "messages": {
                "1": {"id": "1", "parentId": None, "role": "user", "content": "Stork?", "timestamp": 1700000000},
                "2": {"id": "2", "parentId": "1", "role": "assistant", "content": "Bird.", "model": "llama3"},
                "3": {"id": "3", "parentId": "1", "role": "assistant", "content": "White bird.", "model": "qwen"},
            },
        },
    },
}


@pytest.fixture
def alices(client, alice):
    client.force_login(alice)
    return client


def send(client, content, key=None, name="conversations.json"):
    file = io.BytesIO(content if isinstance(content, bytes) else json.dumps(content).encode())
    file.name = name
    return client.post(reverse("chat:import"), {"file": file, "key": key or uuid4()})


def texts(talk):
    return [message.text for message in shown_messages(talk)]


def test_a_file_of_chatgpt_comes_in_with_its_branches(alices, faults):
    assert send(alices, [CHATGPT])["Location"] == "/conversations/import/?imported=1"
    talk = Conversation.objects.get()
    assert (talk.title, talk.model_id, talk.created_at.year) == ("Herons", DEMO_KEY, 2023)
    assert texts(talk) == ["What is a heron?", "A tall bird.", "How tall?", "One metre."]
    first, other = Message.objects.filter(parent=Message.objects.get(text="What is a heron?")).order_by("pk")
    assert (first.text, first.imported_from, other.imported_from) == ("A bird.", "gpt-4o", "ChatGPT")
    assert read_branches(talk).versions(first.pk) == [first.pk, other.pk]
    assert Generation.objects.count() == 0
    assert faults() == []


def test_a_file_of_open_webui_comes_in_with_its_branches(alices):
    send(alices, [WEBUI])
    talk = Conversation.objects.get()
    assert texts(talk) == ["Stork?", "Bird."]
    assert {message.imported_from for message in talk.messages.filter(role="assistant")} == {"llama3", "qwen"}


def test_what_was_exported_comes_in_as_it_was(alices, alice, catalogue):
    talk = answered_talk(alice, catalogue)
    prompt, answer = talk.messages.order_by("pk")
    other = talk.messages.create(role="user", text="Another question", parent=answer)
    talk.messages.create(role="user", text="An edited question", parent=answer)
    Conversation.objects.filter(pk=talk.pk).update(tip=other, system_prompt="Be brief.", title="Of “herons”")
    talk.refresh_from_db()
    send(alices, write_json(talk).encode())
    copy = Conversation.objects.exclude(pk=talk.pk).get()
    assert (copy.title, copy.system_prompt, copy.updated_at) == ("Of “herons”", "Be brief.", talk.updated_at)
    assert texts(copy) == texts(talk) == ["secret question", "secret answer", "Another question"]
    assert copy.messages.count() == 4
    first, second = json.loads(write_json(talk)), json.loads(write_json(copy))
    assert first["messages"] == second["messages"]
    assert prompt.text in write_markdown(copy)


def test_downloads_have_a_name_and_are_nobody_elses(alices, alice, charlie, catalogue):
    talk = answered_talk(alice, catalogue)
    Conversation.objects.filter(pk=talk.pk).update(title='Häns/"2"\n')
    for kind, content_type in (("md", "text/markdown; charset=utf-8"), ("json", "application/json")):
        path = reverse("chat:download", args=[talk.pk, kind])
        answer = alices.get(path)
        assert answer["Content-Type"] == content_type
        assert answer["Content-Disposition"] == f"attachment; filename*=utf-8''h%C3%A4ns2.{kind}"
        assert "secret answer" in answer.content.decode()
        assert "no-store" in answer["Cache-Control"]
    Conversation.objects.filter(pk=talk.pk).update(title="🦊")
    assert (
        'filename="conversation.md"'
        in alices.get(reverse("chat:download", args=[talk.pk, "md"]))["Content-Disposition"]
    )
    alices.post(reverse("chat:delete", args=[talk.pk]))
    assert alices.get(reverse("chat:download", args=[talk.pk, "md"])).status_code == 404
    alices.force_login(charlie)
    for name, args in (("download", [talk.pk, "json"]), ("export", [talk.pk])):
        assert alices.get(reverse(f"chat:{name}", args=args)).status_code == 404


def test_a_double_click_imports_once(alices, faults):
    key = uuid4()
    answers = at_once(4, lambda _n: send(alices, [CHATGPT, WEBUI], key))
    assert {answer["Location"] for answer in answers} == {"/conversations/import/?imported=2"}
    assert Conversation.objects.count() == 2
    send(alices, [CHATGPT, WEBUI])  # on purpose, from a new form
    assert Conversation.objects.count() == 4
    assert faults() == []


BROKEN = {
    "nothing": (b"", "The file is empty"),
    "no JSON": (b"\x89PNG....", "This is no JSON file"),
    "deep": (b"[" * 100_000, "This is no JSON file"),
    "a number": (b"7", "not as it should be"),
    "an empty list": (b"[]", "no conversations in this file"),
    "another format": ([{"messages": []}], "another format"),
    "no messages": ([{"mapping": {}}], "no conversations in this file"),
    "a circle": ([{"mapping": {**node("a", "b", "user", "x"), **node("b", "a", "user", "y")}}], "not as it should be"),
    "a circle of nothing": (
        [{"mapping": {"r": {"parent": "q"}, "q": {"parent": "r"}, **node("a", "r", "user", "x")}}],
        "not as it should be",
    ),
    "a list as text": ([WEBUI | {"title": ["x"]}], "not as it should be"),
    "a zip of nothing": (b"PK\x03\x04rest", "holds no conversations"),
    "too large": (b" " * 2_000_001, "too large"),
    "a long message": ([{"mapping": node("a", None, "user", "x" * 300_001)}], "more than 300000 characters"),
    "too many": ([{"mapping": {}}] * 1_001, "1001 conversations"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_file_that_cannot_be_imported_is_refused_with_words(alices, name):
    content, words = BROKEN[name]
    answer = send(alices, content)
    assert (answer.status_code, words in answer.content.decode()) == (422, True)
    assert Conversation.objects.count() == 0


def test_one_bad_conversation_keeps_all_out(alices):
    assert send(alices, [CHATGPT, {"mapping": 5}]).status_code == 422
    assert Conversation.objects.count() == 0


def archive(name, content, how=zipfile.ZIP_DEFLATED):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", how) as file:
        file.writestr("other.txt", "x")
        file.writestr(name, content)
    return packed.getvalue()


def test_an_archive_is_opened_and_not_beyond_its_limit(alices):
    assert send(alices, archive("deep/conversations.json", json.dumps([CHATGPT])), name="x.zip").status_code == 302
    assert "too large" in send(alices, archive("conversations.json", " " * 25_000_001)).content.decode()
    assert "holds no conversations" in send(alices, archive("x.md", "x")).content.decode()


def test_strange_texts_and_times_are_made_storable(alices):
    strange = node("a", None, "user", "nul\x00 and \ud800 half", create_time=1e300)
    send(alices, [{"title": "\u200b", "mapping": strange, "create_time": "x", "update_time": -5, "current_node": "zz"}])
    talk = Conversation.objects.get()
    assert texts(talk) == ["nul and ? half"]
    assert talk.updated_at.year == 2000


def test_a_chain_of_nodes_without_messages_is_followed_once(alices):
    """Following it from each message anew would take minutes."""
    chain = {str(n): {"parent": str(n - 1) if n else None} for n in range(20_000)}
    leaves = {key: value for n in range(5_000) for key, value in node(f"m{n}", "19999", "user", "x").items()}
    [talk] = read_file(json.dumps({"mapping": chain | leaves}).encode())
    assert len(talk.turns) == 5_000


def test_without_a_model_nothing_is_imported(alices):
    CatalogueModel.objects.update(is_active=False)
    assert "No model is offered" in send(alices, [CHATGPT]).content.decode()


def test_an_imported_answer_is_shown_continued_branched_and_not_written_again(alices, alice, worker):
    send(alices, [CHATGPT])
    talk = Conversation.objects.get()
    page = alices.get(talk.get_absolute_url()).content.decode()
    assert "A tall bird." in page
    assert "imported" in page
    answer = Message.objects.get(text="One metre.")
    retry = alices.post(reverse("chat:retry", args=[answer.pk]), {"idempotency_key": uuid4()})
    assert (retry.status_code, "was imported" in retry.content.decode()) == (409, True)
    assert branch_conversation(message=answer).messages.count() == 4
    sent = {"text": "And a crane?", "model": DEMO_KEY, "idempotency_key": uuid4()}
    assert alices.post(reverse("chat:send", args=[talk.pk]), sent).status_code == 302
    worker.serve(DEMO_KEY)
    assert talk.messages.count() == 7


@pytest.mark.parametrize(
    ("role", "imported_from"), [("user", "x"), ("assistant", "")], ids=["imported prompt", "answer of nobody"]
)
def test_an_answer_has_a_generation_or_was_imported(alice, catalogue, role, imported_from):
    talk = Conversation.objects.create(user=alice, model=catalogue, title="x")
    with pytest.raises(IntegrityError, match="chat_message_answers_have_a_source"), transaction.atomic():
        talk.messages.create(role=role, text="x", imported_from=imported_from)
    generated = answered_talk(alice, catalogue).messages.last()
    with pytest.raises(IntegrityError, match="chat_message_answers_have_a_source"), transaction.atomic():
        Message.objects.filter(pk=generated.pk).update(imported_from="x")


def test_a_file_of_too_many_messages_is_refused(monkeypatch):
    monkeypatch.setattr(formats, "MOST_MESSAGES", 5)
    with pytest.raises(UnreadableFile, match="more than 5 messages"):
        read_file(json.dumps([CHATGPT, WEBUI]).encode())


@pytest.mark.parametrize("how", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_an_archive_of_another_packing_is_not_opened(alices, how):
    """Its head may ask for gigabytes of memory."""
    answer = send(alices, archive("conversations.json", json.dumps([CHATGPT]), how))
    assert (answer.status_code, "holds no conversations" in answer.content.decode()) == (422, True)


def test_a_changed_archive_is_refused_wherever_it_was_changed(alices):
    whole = archive("conversations.json", json.dumps([CHATGPT] * 20))
    for place in range(4, len(whole), 7):
        changed = bytearray(whole)
        changed[place] ^= 0xFF
        with suppress(UnreadableFile):
            read_file(bytes(changed))


def test_writing_asks_the_same_for_two_messages_and_for_many(alice, catalogue, django_assert_num_queries):
    talk = answered_talk(alice, catalogue)
    with django_assert_num_queries(2):
        write_markdown(talk)
    for _ in range(5):
        answered_talk(alice, catalogue).messages.update(conversation=talk)
    talk.refresh_from_db()
    with django_assert_num_queries(2):
        write_markdown(talk)


@pytest.mark.parametrize("moment", ["1e999", "Infinity", "-1e999", "NaN", '"9999-12-31T23:59:59-12:00"'])
def test_a_time_that_cannot_be_is_now(alices, moment):
    content = json.dumps(CHATGPT | {"create_time": "HERE"}).replace('"HERE"', moment).encode()
    assert send(alices, content).status_code == 302
    assert Conversation.objects.get().created_at <= timezone.now()


def test_a_file_of_very_many_parts_is_refused_before_it_is_read(alices, monkeypatch):
    monkeypatch.setattr(formats, "MOST_VALUES", 100)
    assert "too many parts" in send(alices, b"[" + b"[{}]," * 100 + b"1]").content.decode()


def test_a_system_prompt_that_could_not_be_sent_is_refused(alices, settings):
    settings.PROMPT_MAX_CHARACTERS = 100
    talk = {"format": "tally.conversation", "version": 1, "title": "x", "system_prompt": "y" * 101, "messages": []}
    said = {"number": 1, "follows": None, "role": "user", "text": "hi"}
    assert "too long" in send(alices, talk | {"messages": [said]}).content.decode()


def test_another_file_under_the_same_form_is_imported_too(alices):
    key = uuid4()
    for title in ("One", "One", "Two"):
        assert send(alices, [CHATGPT | {"title": title}], key=key).status_code == 302
    assert sorted(Conversation.objects.values_list("title", flat=True)) == ["One", "Two"]


def test_imports_have_a_limit_of_an_hour(alices, settings):
    settings.PAGE_LIMITS = settings.PAGE_LIMITS | {"exports": 100}
    answers = [send(alices, b"x").content.decode() for _time in range(21)]
    assert ["Too many tries" in answer for answer in answers] == [False] * 20 + [True]


def test_a_conversation_that_no_model_can_read_is_not_counted_first(alices, alice, catalogue, monkeypatch):
    talk = answered_talk(alice, catalogue)
    most = catalogue.context_tokens * messages.MOST_CHARACTERS_A_TOKEN
    Message.objects.filter(conversation=talk, role="user").update(text="x" * most)
    monkeypatch.setattr("inference.generations.requesting.encode_prompt", None)
    fields = {"text": "And?", "model": catalogue.key, "idempotency_key": uuid4()}
    answer = alices.post(reverse("chat:send", args=[talk.pk]), fields)
    assert (answer.status_code, "Start a new chat" in answer.content.decode()) == (422, True)
