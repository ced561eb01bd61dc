"""Opens, renames, branches and deletes conversations, and writes the last answer again."""

from django.db import transaction
from django.utils.translation import gettext as _

from accounts.models import User
from chat.messages import AnswerInProgress, Exchange, NotTheLastAnswer, retry_answer
from chat.models import TITLE_LENGTH, Conversation, Message, Role
from inference.generations.parameters import Caller
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
    generations = Generation.objects.filter(message__conversation=locked)
    if generations.live().exists():
        raise AnswerInProgress(_("An answer is still being written here. Stop it, or wait until it ends."))
    elsewhere = Message.objects.exclude(conversation=locked).filter(generation__isnull=False).values("generation")
    own = list(generations.exclude(pk__in=elsewhere).values_list("pk", flat=True))
    locked.delete()
    Generation.objects.filter(pk__in=own).update(text="")


@transaction.atomic
def branch_conversation(*, message: Message) -> Conversation:
    """Make a new conversation with the beginning of the message's one.

    The branch ends with the message if that is an answer, and before it if it is a prompt, so that another prompt can
    take its place. Nothing is charged: answers that both conversations show were paid once. Raises AnswerInProgress for
    an answer that is still being written.
    """
    origin = Conversation.objects.select_for_update().get(pk=message.conversation_id)
    kept = origin.messages.filter(pk__lte=message.pk)
    if message.role == Role.USER:
        kept = kept.exclude(pk=message.pk)
    if Generation.objects.live().filter(message__in=kept).exists():
        raise AnswerInProgress(_("This answer is still being written. Stop it, or wait until it ends."))
    branch = Conversation.objects.create(user=origin.user, model=origin.model, title=origin.title)
    Message.objects.bulk_create(
        Message(conversation=branch, role=turn.role, text=turn.text, generation_id=turn.generation_id)
        for turn in kept.order_by("pk")
    )
    return branch


def regenerate_answer(*, user: User, answer: Message, idempotency_key: str, caller: Caller) -> Exchange:
    """Write the last answer again, with new random sampling. Both answers are kept and paid.

    Later prompts see only the new answer. Raises NotTheLastAnswer, and what `chat.messages.send_message` raises.
    """
    if answer.role != Role.ASSISTANT:
        raise NotTheLastAnswer(_("Only the last answer can be written again. Branch to go back further."))
    return retry_answer(user=user, answer=answer, idempotency_key=idempotency_key, caller=caller)


def clean_title(title: str) -> str:
    """Return the title as one line. Raises InvalidPrompt if it is empty or too long."""
    line = " ".join(title.split())
    if not 1 <= len(line) <= TITLE_LENGTH:
        raise InvalidPrompt(_("A title has 1 to {most} characters.").format(most=TITLE_LENGTH))
    return line
