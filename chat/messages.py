"""Writing conversations: send a message, retry an answer."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from uuid import UUID

from django.db import transaction
from django.utils.translation import gettext as _

from accounts.models import User
from billing.ledger import InsufficientCredits
from billing.ledger.thresholds import call_after_refusal
from chat.models import TITLE_LENGTH, Conversation, Message, Role
from inference.generations.estimates import Estimate, estimate_answer
from inference.generations.parameters import PAGE, Caller, Parameters
from inference.generations.requesting import (
    AlreadyRequested,
    QueueUnavailable,
    hash_inputs,
    refuse_repeat,
    request_generation,
)
from inference.models import CatalogueModel, Generation, GenerationState
from inference.prompting.conversation import Conversation as Prompt
from inference.prompting.conversation import Turn, alternate
from inference.prompting.prompts import clean_prompt


class AnswerInProgress(Exception):
    """The conversation is still being answered; stop that first, or wait."""


class NotTheLastAnswer(Exception):
    """Only the last answer of a conversation can be written again."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """A prompt and the answer that was asked for; a retry adds an answer alone.

    `is_repeated` says that an earlier request with the same key made it.
    """

    conversation: Conversation
    prompt: Message | None
    answer: Message
    is_repeated: bool = False


def send_message(
    *,
    user: User,
    conversation: Conversation | None,
    model: CatalogueModel,
    text: str,
    parameters: Parameters,
    idempotency_key: str,
    caller: Caller = PAGE,
) -> Exchange:
    """Add a prompt and request its answer, in a new conversation when none is given.

    The same key with the same message returns what it made before: a double click sends once. Raises what
    `request_generation` raises, and AnswerInProgress. When the queue is down, nothing stays in the conversation.
    """
    text = clean_prompt(text)
    inputs_hash = hash_inputs("send", conversation.pk if conversation else "new", model.pk, text, _plain(parameters))
    add = partial(_add_exchange, user, conversation, model, text, parameters, idempotency_key, inputs_hash, caller)
    return _ask(add, user, is_new=conversation is None)


def _plain(parameters: Parameters) -> str:
    """What was asked for, in the words of before there was what pages never ask for: a retry from then is the same."""
    return str(parameters).replace(", frequency_penalty=0.0, presence_penalty=0.0, top_logprobs=None", "")


def estimate_message(
    *, user: User, conversation: Conversation | None, model: CatalogueModel, text: str
) -> Estimate | None:
    """What sending this would cost. Raises InvalidPrompt and ModelUnavailable as sending would."""
    turns = [] if conversation is None else _turns(conversation, before=None)
    return estimate_answer(user=user, model=model, prompt=Prompt(alternate([*turns, Turn("user", clean_prompt(text))])))


def retry_answer(*, user: User, answer: Message, idempotency_key: str, caller: Caller = PAGE) -> Exchange:
    """Ask again for the last answer, which failed, say. Raises NotTheLastAnswer, and as `send_message` does."""
    inputs_hash = hash_inputs("retry", answer.pk)
    return _ask(partial(_add_retry, user, answer, idempotency_key, inputs_hash, caller), user, is_new=False)


def _ask(add: Callable[[], Exchange], user: User, *, is_new: bool) -> Exchange:
    """Add an exchange; a repeat gives the earlier one, and one that never reached the queue is taken back."""
    try:
        return add()
    except AlreadyRequested as repeat:
        return replace(_exchange_of(repeat.generation.pk), is_repeated=True)
    except InsufficientCredits as error:
        call_after_refusal(user=user, needed_microcredits=error.needed_microcredits)
        raise
    except QueueUnavailable as error:
        _take_back(_exchange_of(error.generation_id), is_new=is_new)
        raise


@transaction.atomic
def _add_exchange(
    user: User,
    conversation: Conversation | None,
    model: CatalogueModel,
    text: str,
    parameters: Parameters,
    idempotency_key: str,
    inputs_hash: str,
    caller: Caller,
) -> Exchange:
    if conversation is not None:
        conversation = Conversation.objects.select_for_update().get(pk=conversation.pk)
    refuse_repeat(user=user, idempotency_key=idempotency_key, inputs_hash=inputs_hash)
    turns: list[Turn] = []
    if conversation is None:
        conversation = Conversation.objects.create(user=user, title=_title(text), model=model)
    else:
        _refuse_while_answering(conversation)
        turns = _turns(conversation, before=None)
        conversation.model = model
        conversation.save(update_fields=["model", "updated_at"])
    prompt = Message.objects.create(conversation=conversation, role=Role.USER, text=text)
    generation = request_generation(
        user=user,
        model=model,
        prompt=Prompt(alternate([*turns, Turn("user", text)])),
        parameters=parameters,
        idempotency_key=idempotency_key,
        inputs_hash=inputs_hash,
        caller=caller,
    )
    answer = Message.objects.create(conversation=conversation, role=Role.ASSISTANT, generation=generation)
    return Exchange(conversation, prompt, answer)


@transaction.atomic
def _add_retry(user: User, answer: Message, idempotency_key: str, inputs_hash: str, caller: Caller) -> Exchange:
    conversation = Conversation.objects.select_for_update().get(pk=answer.conversation_id)
    refuse_repeat(user=user, idempotency_key=idempotency_key, inputs_hash=inputs_hash)
    _refuse_while_answering(conversation)
    if conversation.messages.filter(pk__gt=answer.pk, role=Role.USER).exists():
        raise NotTheLastAnswer(_("Only the last answer can be written again. Branch to go back further."))
    failed = Generation.objects.select_related("model").get(message=answer)
    generation = request_generation(
        user=user,
        model=failed.model,
        prompt=Prompt(alternate(_up_to_prompt(_turns(conversation, before=answer.pk)))),
        parameters=_parameters_of(failed),
        idempotency_key=idempotency_key,
        inputs_hash=inputs_hash,
        caller=caller,
    )
    again = Message.objects.create(conversation=conversation, role=Role.ASSISTANT, generation=generation)
    return Exchange(conversation, None, again)


def _refuse_while_answering(conversation: Conversation) -> None:
    if Generation.objects.live().filter(message__conversation=conversation).exists():
        raise AnswerInProgress(_("An answer is still being written here. Stop it, or wait until it ends."))


def _turns(conversation: Conversation, before: int | None) -> list[Turn]:
    """What was said so far, up to the message `before`, without answers that failed or were written again."""
    messages = conversation.messages.exclude(generation__state=GenerationState.FAILED).exclude(
        role=Role.ASSISTANT, text=""
    )
    if before is not None:
        messages = messages.filter(pk__lt=before)
    turns: list[Turn] = []
    for message in messages.only("role", "text"):
        turn = Turn("user" if message.role == Role.USER else "assistant", message.text)
        if turn.role == "assistant" and turns and turns[-1].role == "assistant":
            turns.pop()  # a prompt's later answer takes the place of the earlier one
        turns.append(turn)
    return turns


def _up_to_prompt(turns: list[Turn]) -> list[Turn]:
    """Without the earlier answers to the last prompt, which is to be answered again."""
    return turns[:-1] if turns and turns[-1].role == "assistant" else turns


def _parameters_of(generation: Generation) -> Parameters:
    """Ask again as before, with another draw."""
    return Parameters(
        max_tokens=generation.requested_completion_tokens,
        temperature=generation.temperature,
        top_p=generation.top_p,
        top_k=generation.top_k,
        stop=tuple(generation.stop),
        min_p=generation.min_p,
        repetition_penalty=generation.repetition_penalty,
        frequency_penalty=generation.frequency_penalty,
        presence_penalty=generation.presence_penalty,
    )


def _exchange_of(generation_id: UUID) -> Exchange:
    # The first is the one that asked for it; a branch may show it too.
    answers = Message.objects.select_related("conversation", "generation").filter(generation=generation_id)
    answer = answers.order_by("pk")[0]
    prompt = answer.conversation.messages.filter(pk__lt=answer.pk).last()
    is_retry = prompt is None or prompt.role != Role.USER
    return Exchange(answer.conversation, None if is_retry else prompt, answer)


@transaction.atomic
def _take_back(exchange: Exchange, *, is_new: bool) -> None:
    """Remove what a send that never reached the queue left in the conversation; its generation row stays."""
    exchange.answer.delete()
    if exchange.prompt is not None:
        exchange.prompt.delete()
    if is_new:
        exchange.conversation.delete()


def _title(text: str) -> str:
    """The first line, cut at a word."""
    line = text.partition("\n")[0].strip()
    if len(line) <= TITLE_LENGTH:
        return line
    return line[: TITLE_LENGTH - 1].rpartition(" ")[0] + "…" if " " in line[:TITLE_LENGTH] else line[:TITLE_LENGTH]
