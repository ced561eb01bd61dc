"""Opens, renames, pins, archives, branches and deletes conversations."""

import logging
import unicodedata
from itertools import pairwise
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models.functions import Now
from django.utils.translation import gettext as _

from accounts.models import User
from chat.branches import read_branches
from chat.messages import AnswerInProgress, lock_conversation, refuse_while_answering
from chat.models import TITLE_LENGTH, Conversation, Message, Role
from inference.models import CatalogueModel, Generation
from inference.prompting.prompts import InvalidPrompt

MOST_PINNED = 50
MOST_ERASED = 500  # conversations that one run of the task erases
VISIBLE = "LNPS"  # the first letters of Unicode's categories of letters, numbers, punctuation and symbols

logger = logging.getLogger(__name__)


class TooManyPinned(Exception):
    """As many conversations are pinned as can be."""


def open_conversation(*, user: User, model: CatalogueModel, title: str) -> Conversation:
    """Make an empty conversation and return it. Raises InvalidPrompt for an invalid title."""
    return Conversation.objects.create(user=user, model=model, title=clean_title(title))


def rename_conversation(*, conversation: Conversation, title: str) -> None:
    """Give it another title; its place in the list stays. Raises InvalidPrompt."""
    conversation.title = clean_title(title)
    Conversation.objects.filter(pk=conversation.pk).update(title=conversation.title)


@transaction.atomic
def change_conversation(*, conversation: Conversation, changes: dict[str, Any]) -> None:
    """Make all of these changes or none: `title`, `is_pinned`, `is_archived`, `is_deleted`.

    Raises InvalidPrompt, TooManyPinned and AnswerInProgress.
    """
    if changes.get("is_deleted") is False:
        restore_conversation(conversation=conversation)
    if "title" in changes:
        rename_conversation(conversation=conversation, title=changes["title"])
    if "is_archived" in changes:
        (archive_conversation if changes["is_archived"] else unarchive_conversation)(conversation=conversation)
    if "is_pinned" in changes:
        (pin_conversation if changes["is_pinned"] else unpin_conversation)(conversation=conversation)
    if changes.get("is_deleted"):
        hide_conversation(conversation=conversation)


def pin_conversation(*, conversation: Conversation) -> None:
    """Put it on top of the list. An archived one comes back from the archive. Raises TooManyPinned."""
    others = Conversation.objects.filter(user=conversation.user_id).pinned().exclude(pk=conversation.pk)
    if others.count() >= MOST_PINNED:
        raise TooManyPinned(_("You can pin {most} conversations. Unpin another one first.").format(most=MOST_PINNED))
    Conversation.objects.filter(pk=conversation.pk, pinned_at=None).update(pinned_at=Now(), archived_at=None)


def unpin_conversation(*, conversation: Conversation) -> None:
    """Let it stand in the list by its date again."""
    Conversation.objects.filter(pk=conversation.pk).update(pinned_at=None)


def archive_conversation(*, conversation: Conversation) -> None:
    """Take it out of the list. It can still be found, read and continued, and is not pinned any more."""
    Conversation.objects.filter(pk=conversation.pk, archived_at=None).update(archived_at=Now(), pinned_at=None)


def unarchive_conversation(*, conversation: Conversation) -> None:
    """Put it back into the list."""
    Conversation.objects.filter(pk=conversation.pk).update(archived_at=None)


@transaction.atomic
def hide_conversation(*, conversation: Conversation) -> None:
    """Delete a conversation in a way that can be taken back for CONVERSATION_UNDO_HOURS; then it is erased.

    Nobody sees it meanwhile. Raises AnswerInProgress.
    """
    locked = Conversation.objects.select_for_update().filter(pk=conversation.pk, deleted_at=None).first()
    if locked is None:
        return
    refuse_while_answering(locked)
    Conversation.objects.filter(pk=locked.pk).update(deleted_at=Now())


def restore_conversation(*, conversation: Conversation) -> None:
    """Take its deletion back."""
    Conversation.objects.filter(pk=conversation.pk).update(deleted_at=None)


def erase_deleted_conversations() -> int:
    """Erase the conversations that were deleted CONVERSATION_UNDO_HOURS ago, and return how many.

    One that still gets an answer, sent at the moment of its deletion, waits for a later run.
    """
    erased = 0
    for conversation in Conversation.objects.to_erase().order_by("deleted_at")[:MOST_ERASED]:
        try:
            erased += erase_conversation(conversation=conversation)
        except AnswerInProgress:
            logger.info("%s is erased later: an answer is being written", conversation)
    return erased


@transaction.atomic
def erase_conversation(*, conversation: Conversation) -> bool:
    """Erase a deleted conversation, its messages, and the text of answers that no other conversation shows.

    What the answers cost stays in the ledger. Raises AnswerInProgress. All is one transaction. A conversation that was
    restored meanwhile is spared. Returns whether it was erased.
    """
    locked = Conversation.objects.to_erase().select_for_update().filter(pk=conversation.pk).first()
    if locked is None:
        return False
    refuse_while_answering(locked)
    answers = list(Generation.objects.filter(message__conversation=locked).values_list("pk", flat=True))
    locked.delete()
    erase_unshown(answers)
    return True


def erase_unshown(generation_ids: list[UUID]) -> None:
    """Erase the text of those of these answers that no conversation shows any more."""
    shown = Message.objects.filter(generation__in=generation_ids).values("generation")
    Generation.objects.filter(pk__in=generation_ids).exclude(pk__in=shown).update(text="")


@transaction.atomic
def branch_conversation(*, message: Message) -> Conversation:
    """Make a new conversation with the branch of the message's one that ends with it.

    The new conversation ends with the message if that is an answer, and before it if it is a prompt, so that another
    prompt can take its place. Nothing is charged: answers that both conversations show were paid once. Raises
    MessageGone, and AnswerInProgress for an answer that is still being written.
    """
    origin = lock_conversation(message.conversation_id)
    branches = read_branches(origin)
    branches.require(message.pk)
    path = branches.path(message.pk)
    if message.role == Role.USER:
        path.pop()
    if Generation.objects.live().filter(message__in=path).exists():
        raise AnswerInProgress(_("This answer is still being written. Stop it, or wait until it ends."))
    branch = Conversation.objects.create(
        user=origin.user,
        model=origin.model,
        title=origin.title,
        system_prompt=origin.system_prompt,
        parameters=origin.parameters,
    )
    found = origin.messages.in_bulk(path)
    _copy_in_order(branch, [found[message_id] for message_id in path])
    return branch


def _copy_in_order(branch: Conversation, messages: list[Message]) -> None:
    """Copy these messages into an empty conversation, where each follows the one before it."""
    copies = Message.objects.bulk_create(
        Message(
            conversation=branch,
            role=each.role,
            text=each.text,
            generation_id=each.generation_id,
            imported_from=each.imported_from,
            is_first=number == 0,
        )
        for number, each in enumerate(messages)
    )
    for before, after in pairwise(copies):
        after.parent = before
    Message.objects.bulk_update(copies, ["parent"], batch_size=500)
    branch.tip = copies[-1] if copies else None
    branch.save(update_fields=["tip"])


def clean_title(title: str) -> str:
    """Return the title as one line. Raises InvalidPrompt if it is too long, or shows nothing."""
    line = " ".join(title.split())
    if not any(unicodedata.category(character)[0] in VISIBLE for character in line):
        raise InvalidPrompt(_("Write a title of 1 to {most} characters.").format(most=TITLE_LENGTH))
    if len(line) > TITLE_LENGTH:
        raise InvalidPrompt(
            _("A title has at most {most} characters. This one has {count}.").format(most=TITLE_LENGTH, count=len(line))
        )
    return line
