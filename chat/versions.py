"""Shows another version of a message, deletes an exchange, and keeps what customers think of answers."""

from django.db import transaction

from chat.branches import Branches, read_branches, record_parents
from chat.conversations import erase_unshown
from chat.messages import lock_conversation, refuse_while_answering
from chat.models import Conversation, Message, Rating


@transaction.atomic
def select_version(*, message: Message) -> Conversation:
    """Show the latest branch through this message, and return its conversation.

    Raises MessageGone, and AnswerInProgress while an answer is being written: it would go on unseen.
    """
    conversation, branches = _open(message)
    record_parents(branches)
    conversation.tip_id = branches.latest_tip(message.pk)
    conversation.save(update_fields=["tip"])
    return conversation


@transaction.atomic
def delete_exchange(*, message: Message) -> Conversation:
    """Delete a prompt with all versions of its answer, given it or an answer to it; return its conversation.

    What was said after them is kept, and follows what the prompt followed. The text of answers that no other
    conversation shows is erased; what they cost stays in the ledger. Raises MessageGone and AnswerInProgress.
    """
    conversation, branches = _open(message)
    record_parents(branches)
    prompt_id = branches.prompt_of(message.pk)
    gone, parent_id = branches.exchange(prompt_id), branches.parents[prompt_id]
    generations = conversation.messages.filter(pk__in=gone, generation__isnull=False)
    answers = list(generations.values_list("generation", flat=True))
    after = Message.objects.filter(parent__in=gone).exclude(pk__in=gone)
    after.update(parent=parent_id, is_first=parent_id is None)
    if branches.tip in gone:
        conversation.tip_id = _tip_without(branches, gone, parent_id)
        conversation.save(update_fields=["tip"])
    conversation.messages.filter(pk__in=gone).delete()
    erase_unshown(answers)
    return conversation


def _open(message: Message) -> tuple[Conversation, Branches]:
    """Lock the message's conversation, in which no answer is being written, and read its branches."""
    conversation = lock_conversation(message.conversation_id)
    branches = read_branches(conversation)
    branches.require(message.pk)
    refuse_while_answering(conversation)
    return conversation, branches


def _tip_without(branches: Branches, gone: list[int], parent_id: int | None) -> int | None:
    """The end of the branch to show once these messages are gone, which follow `parent_id`: another version, if any."""
    others = [each for each in branches.children[parent_id] if each not in gone]
    return branches.latest_tip(others[-1]) if others else parent_id


def rate_answer(*, answer: Message, rating: Rating | None) -> None:
    """Keep what a customer thinks of an answer; None takes it back."""
    Message.objects.filter(pk=answer.pk).update(rating=rating)
