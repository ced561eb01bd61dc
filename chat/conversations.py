"""Opens, renames, branches and deletes conversations."""

from itertools import pairwise
from uuid import UUID

from django.db import transaction
from django.utils.translation import gettext as _

from accounts.models import User
from chat.branches import read_branches
from chat.messages import AnswerInProgress, lock_conversation, refuse_while_answering
from chat.models import TITLE_LENGTH, Conversation, Message, Role
from inference.models import CatalogueModel, Generation
from inference.prompting.prompts import InvalidPrompt


def open_conversation(*, user: User, model: CatalogueModel, title: str) -> Conversation:
    """Make an empty conversation and return it. Raises InvalidPrompt for an invalid title."""
    return Conversation.objects.create(user=user, model=model, title=clean_title(title))


def rename_conversation(*, conversation: Conversation, title: str) -> None:
    """Give it another title; its place in the list stays. Raises InvalidPrompt."""
    conversation.title = clean_title(title)
    Conversation.objects.filter(pk=conversation.pk).update(title=conversation.title)


@transaction.atomic
def delete_conversation(*, conversation: Conversation) -> None:
    """Delete a conversation, its messages, and the text of answers that no other conversation shows.

    What the answers cost stays in the ledger. Raises AnswerInProgress. All is one transaction.
    """
    locked = Conversation.objects.select_for_update().filter(pk=conversation.pk).first()
    if locked is None:
        return
    refuse_while_answering(locked)
    answers = list(Generation.objects.filter(message__conversation=locked).values_list("pk", flat=True))
    locked.delete()
    erase_unshown(answers)


def erase_unshown(generation_ids: list[UUID]) -> None:
    """Erase the text of those of these answers that no conversation shows any more."""
    shown = Message.objects.filter(generation__in=generation_ids).values("generation")
    Generation.objects.filter(pk__in=generation_ids).exclude(pk__in=shown).update(text="")


@transaction.atomic
def branch_conversation(*, message: Message) -> Conversation:
    """Make a new conversation with the branch of the message's one that ends with it.

    The new conversation ends with the message if that is an answer, and before it if it is a prompt, so that another
    prompt can take its place. Nothing is charged: answers that both conversations show were paid once. Raises
    AnswerInProgress for an answer that is still being written.
    """
    origin = lock_conversation(message.conversation_id)
    path = read_branches(origin).path(message.pk)
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
            conversation=branch, role=each.role, text=each.text, generation_id=each.generation_id, is_first=number == 0
        )
        for number, each in enumerate(messages)
    )
    for before, after in pairwise(copies):
        after.parent = before
    Message.objects.bulk_update(copies, ["parent"], batch_size=500)
    branch.tip = copies[-1] if copies else None
    branch.save(update_fields=["tip"])


def clean_title(title: str) -> str:
    """Return the title as one line. Raises InvalidPrompt if it is empty or too long."""
    line = " ".join(title.split())
    if not 1 <= len(line) <= TITLE_LENGTH:
        raise InvalidPrompt(_("A title has 1 to {most} characters.").format(most=TITLE_LENGTH))
    return line
