"""Which message follows which, and which branch is shown."""

import pytest
from django.db import IntegrityError, transaction

from accounts.models import User
from chat.branches import read_branches, shown_messages
from chat.models import Conversation, Message
from inference.models import CatalogueModel

pytestmark = pytest.mark.django_db


@pytest.fixture
def talk(alice: User, catalogue: CatalogueModel) -> Conversation:
    """An empty conversation."""
    return Conversation.objects.create(user=alice, model=catalogue, title="Ducks")


def say(talk: Conversation, parent: Message | None = None, *, is_first: bool = False) -> Message:
    """Add a prompt; without a parent and not first as versions before branches wrote it."""
    return talk.messages.create(role="user", text="quack", parent=parent, is_first=is_first)


def test_an_empty_conversation_shows_nothing(talk: Conversation) -> None:
    assert shown_messages(talk) == []


def test_messages_from_before_branches_follow_each_other(talk: Conversation) -> None:
    first, second, third = say(talk), say(talk), say(talk)
    assert shown_messages(talk) == [first, second, third]


def test_the_branch_that_ends_with_the_tip_is_shown(talk: Conversation) -> None:
    first = say(talk, is_first=True)
    one, other = say(talk, first), say(talk, first)
    after = say(talk, one)
    talk.tip = after
    branches = read_branches(talk)
    assert branches.path() == [first.pk, one.pk, after.pk]
    assert branches.versions(one.pk) == [one.pk, other.pk]
    assert branches.latest_tip(first.pk) == other.pk


def test_an_edited_first_message_begins_a_version_of_its_own(talk: Conversation) -> None:
    first = say(talk)
    edited = say(talk, is_first=True)
    talk.tip = edited
    branches = read_branches(talk)
    assert branches.path() == [edited.pk]
    assert branches.versions(edited.pk) == [first.pk, edited.pk]


def test_a_message_of_an_older_process_is_shown_at_the_end(talk: Conversation) -> None:
    """While a site is upgraded, a process of the version before adds messages without a parent."""
    first = say(talk, is_first=True)
    talk.tip = first
    added = say(talk)
    assert read_branches(talk).path() == [first.pk, added.pk]


def test_a_first_message_has_no_parent(talk: Conversation) -> None:
    first = say(talk, is_first=True)
    with pytest.raises(IntegrityError, match="chat_message_the_first_follows_none"), transaction.atomic():
        say(talk, first, is_first=True)


def test_only_answers_are_rated(talk: Conversation) -> None:
    with pytest.raises(IntegrityError, match="chat_message_answers_are_rated"), transaction.atomic():
        talk.messages.create(role="user", text="quack", rating=1)
