"""Prompts are checked before they are sent, and say in people's words what is wrong with them."""

import pytest

from inference.catalogue import ModelUnavailable
from inference.models import PromptFormat
from inference.prompting.prompts import (
    Conversation,
    InvalidPrompt,
    PromptTooLong,
    RawText,
    Turn,
    clean_prompt,
    completion_room,
    conversation_of,
    encode_prompt,
    format_of,
)
from tests.inference.checkpoints import make_checkpoint
from tests.inference.prompting.templates import GEMMA

HELLO = Conversation([Turn("user", "Hello")])


@pytest.fixture
def gemma_like(catalogue, settings, tmp_path):
    """A model whose template refuses what Gemma's refuses."""
    settings.MODEL_DIR = tmp_path
    make_checkpoint(tmp_path / catalogue.key, template=GEMMA)
    catalogue.prompt_format = PromptFormat.CHAT_TEMPLATE
    return catalogue


ONE_QUESTION = "{% if messages | length > 1 %}{{ raise_exception('Ask one thing.') }}{% endif %}" + GEMMA


def test_a_conversation_that_the_template_refuses_is_refused_in_its_words(catalogue, settings, tmp_path):
    settings.MODEL_DIR = tmp_path
    make_checkpoint(tmp_path / catalogue.key, template=ONE_QUESTION)
    catalogue.prompt_format = PromptFormat.CHAT_TEMPLATE
    more = Conversation([Turn("user", "Hi"), Turn("assistant", "Hello!"), Turn("user", "Bye")])
    with pytest.raises(InvalidPrompt, match="does not take a conversation like this one: Ask one thing"):
        encode_prompt(model=catalogue, prompt=more)
    assert encode_prompt(model=catalogue, prompt=HELLO)


def test_a_conversation_may_begin_and_end_with_the_assistant(gemma_like):
    begun = Conversation([Turn("assistant", "Hello!"), Turn("user", "Hi")])
    ended = Conversation([Turn("user", "Count."), Turn("assistant", "One, two")])
    assert encode_prompt(model=gemma_like, prompt=begun)
    asked = encode_prompt(model=gemma_like, prompt=Conversation([Turn("user", "Count.")]))
    assert encode_prompt(model=gemma_like, prompt=ended)[: len(asked)] == asked


def test_a_base_model_without_a_template_cannot_be_asked_in_one(gemma_like, tmp_path):
    (tmp_path / gemma_like.key / "chat_template.jinja").unlink()
    with pytest.raises(ModelUnavailable, match="no chat template"):
        encode_prompt(model=gemma_like, prompt=HELLO)


def test_a_window_smaller_than_the_introduction_is_the_models_fault_and_not_the_customers(catalogue):
    needed = len(encode_prompt(model=catalogue, prompt=HELLO))
    catalogue.context_tokens = needed + 10
    with pytest.raises(PromptTooLong, match="Shorten it"):
        completion_room(catalogue, needed + 50, None)
    catalogue.context_tokens = 50
    with pytest.raises(ModelUnavailable, match="smaller than what introduces a conversation"):
        completion_room(catalogue, needed, None)


def test_messages_of_a_client_become_a_conversation():
    said = [("system", "Rhyme."), ("developer", "Briefly."), ("user", "Hi"), ("user", "there"), ("assistant", "Hello!")]
    conversation = conversation_of([*said, ("system", "Now in prose."), ("user", "Go on"), ("user", " ")])
    assert conversation.system == "Rhyme.\n\nBriefly."
    assert conversation.turns == [
        Turn("user", "Hi\n\nthere"),
        Turn("assistant", "Hello!"),
        Turn("user", "Now in prose.\n\nGo on"),
    ]
    assert conversation_of([("system", "Only this.")]) == Conversation([Turn("user", "Only this.")])
    assert conversation_of(said).is_continued
    assert conversation_of([*said, ("assistant", " ")]) == conversation_of(said)
    with pytest.raises(InvalidPrompt, match="empty"):
        conversation_of([("user", " ")])


def test_a_raw_text_has_a_format_of_its_own(catalogue):
    assert format_of(catalogue, RawText("Once")) == PromptFormat.TEXT
    assert format_of(catalogue, HELLO) == PromptFormat.TRANSCRIPT
    assert format_of(catalogue, Conversation([Turn("assistant", "One, two")])) == PromptFormat.OPEN_TRANSCRIPT


def test_line_ends_and_blanks_around_are_normal():
    assert clean_prompt("\r\n \n  a\r\nb\rc \n") == "  a\nb\nc"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "Write something"),
        (" \n\t ", "Write something"),
        ("x" * 300_000, "300,000 characters"),
        ("\x00\x1b\x0c", "Write something"),
        ("lone \ud83d", "not valid UTF-8"),
    ],
)
def test_what_cannot_be_sent_says_why(text, message):
    with pytest.raises(InvalidPrompt, match=message.replace("+", r"\+")):
        clean_prompt(text)
