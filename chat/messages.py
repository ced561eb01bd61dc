"""Sends messages in conversations, and retries answers."""

from dataclasses import dataclass, replace
from uuid import UUID

from django.db import transaction
from django.utils.translation import gettext as _

from accounts.models import User
from billing.ledger import InsufficientCredits
from billing.ledger.thresholds import call_after_refusal
from chat.models import TITLE_LENGTH, Conversation, Message, Role
from chat.settings import Settings, keep_settings
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
    """An answer in the conversation is still being written; stop it first, or wait."""


class NotTheLastAnswer(Exception):
    """Only the last answer of a conversation can be written again."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """A prompt and its requested answer. A retry has no prompt, because it adds only an answer.

    `is_repeated` says that an earlier request with the same idempotency key made them.
    """

    conversation: Conversation
    prompt: Message | None
    answer: Message
    is_repeated: bool = False


@dataclass(frozen=True, slots=True)
class _Request:
    """The user and the idempotency key of a request for an answer, either for a new prompt or as a retry."""

    user: User
    idempotency_key: str
    inputs_hash: str
    caller: Caller

    def refuse_repeat(self) -> None:
        """Raises AlreadyRequested or IdempotencyConflict if the key was used. Lock the conversation first."""
        refuse_repeat(user=self.user, idempotency_key=self.idempotency_key, inputs_hash=self.inputs_hash)

    def answer(
        self, conversation: Conversation, model: CatalogueModel, turns: list[Turn], parameters: Parameters
    ) -> Generation:
        """Request the answer to these turns of a conversation. Raises as `request_generation` does."""
        return request_generation(
            user=self.user,
            model=model,
            prompt=Prompt(alternate(turns), conversation.system_prompt),
            parameters=parameters,
            idempotency_key=self.idempotency_key,
            inputs_hash=self.inputs_hash,
            caller=self.caller,
        )


@dataclass(frozen=True, slots=True)
class _Draft:
    """A prompt that is to be sent, and how it is to be answered."""

    model: CatalogueModel
    text: str
    parameters: Parameters
    settings: Settings | None


_ENDS_OTHERWISE = (AlreadyRequested, InsufficientCredits, QueueUnavailable)


def send_message(
    *,
    user: User,
    conversation: Conversation | None,
    model: CatalogueModel,
    text: str,
    parameters: Parameters,
    idempotency_key: str,
    caller: Caller = PAGE,
    settings: Settings | None = None,
) -> Exchange:
    """Add a prompt and request its answer, in a new conversation if none is given.

    `settings` become those of the conversation; without them it keeps its own.

    A repeated call with the same key and message returns what the first one made, so a double click sends once. Raises
    AnswerInProgress, and what `request_generation` raises. If the queue is down, nothing stays in the conversation.
    """
    text = clean_prompt(text)
    inputs = ["send", conversation.pk if conversation else "new", model.pk, text, _plain(parameters)]
    if settings is not None and settings.system_prompt:
        inputs.append(settings.system_prompt)
    request = _Request(user, idempotency_key, hash_inputs(*inputs), caller)
    draft = _Draft(model, text, parameters, settings)
    try:
        return _add_exchange(request, conversation, draft)
    except _ENDS_OTHERWISE as error:
        return _see_to(error, request, is_new=conversation is None)


def _plain(parameters: Parameters) -> str:
    """The parameters as text, as it was before the parameters that pages never set were added.

    So a retry of a request from before that still has the same hash.
    """
    return str(parameters).replace(", frequency_penalty=0.0, presence_penalty=0.0, top_logprobs=None", "")


def estimate_message(
    *, user: User, conversation: Conversation | None, model: CatalogueModel, text: str, settings: Settings
) -> Estimate | None:
    """What it would cost to send this message. Raises InvalidPrompt and ModelUnavailable, as sending it would."""
    turns = [] if conversation is None else _turns(conversation, before=None)
    prompt = Prompt(alternate([*turns, Turn("user", clean_prompt(text))]), settings.system_prompt)
    return estimate_answer(user=user, model=model, prompt=prompt, max_tokens=settings.parameters.max_tokens)


def retry_answer(*, user: User, answer: Message, idempotency_key: str, caller: Caller = PAGE) -> Exchange:
    """Request the last answer again, such as a failed one. Raises NotTheLastAnswer, and what `send_message` raises."""
    request = _Request(user, idempotency_key, hash_inputs("retry", answer.pk), caller)
    try:
        return _add_retry(request, answer)
    except _ENDS_OTHERWISE as error:
        return _see_to(error, request, is_new=False)


def _see_to(error: Exception, request: _Request, *, is_new: bool) -> Exchange:
    """Handle an error of a request. For a repeated request, return the earlier exchange; otherwise raise the error.

    Before that, messages whose generation did not reach the queue are removed, and missing credits may start an
    automatic top-up.
    """
    match error:
        case AlreadyRequested():
            return replace(_exchange_of(error.generation.pk), is_repeated=True)
        case InsufficientCredits():
            call_after_refusal(user=request.user, needed_microcredits=error.needed_microcredits)
        case QueueUnavailable():
            _take_back(_exchange_of(error.generation_id), is_new=is_new)
    raise error


@transaction.atomic
def _add_exchange(request: _Request, conversation: Conversation | None, draft: _Draft) -> Exchange:
    if conversation is not None:
        conversation = Conversation.objects.select_for_update().get(pk=conversation.pk)
    request.refuse_repeat()
    turns: list[Turn] = []
    if conversation is None:
        conversation = Conversation.objects.create(user=request.user, title=_title(draft.text), model=draft.model)
    else:
        _refuse_while_answering(conversation)
        turns = _turns(conversation, before=None)
        conversation.model = draft.model
        conversation.save(update_fields=["model", "updated_at"])
    if draft.settings is not None:
        keep_settings(conversation=conversation, settings=draft.settings)
    prompt = Message.objects.create(conversation=conversation, role=Role.USER, text=draft.text)
    generation = request.answer(conversation, draft.model, [*turns, Turn("user", draft.text)], draft.parameters)
    answer = Message.objects.create(conversation=conversation, role=Role.ASSISTANT, generation=generation)
    return Exchange(conversation, prompt, answer)


@transaction.atomic
def _add_retry(request: _Request, answer: Message) -> Exchange:
    conversation = Conversation.objects.select_for_update().get(pk=answer.conversation_id)
    request.refuse_repeat()
    _refuse_while_answering(conversation)
    if conversation.messages.filter(pk__gt=answer.pk, role=Role.USER).exists():
        raise NotTheLastAnswer(_("Only the last answer can be written again. Branch to go back further."))
    if answer.generation_id is None:
        raise NotTheLastAnswer(_("This answer was imported. Send a message to go on from it."))
    failed = Generation.objects.select_related("model").get(message=answer)
    turns = _up_to_prompt(_turns(conversation, before=answer.pk))
    generation = request.answer(conversation, failed.model, turns, _parameters_of(failed))
    again = Message.objects.create(conversation=conversation, role=Role.ASSISTANT, generation=generation)
    return Exchange(conversation, None, again)


def _refuse_while_answering(conversation: Conversation) -> None:
    if Generation.objects.live().filter(message__conversation=conversation).exists():
        raise AnswerInProgress(_("An answer is still being written here. Stop it, or wait until it ends."))


def _turns(conversation: Conversation, before: int | None) -> list[Turn]:
    """The turns before the message `before`, or all, without answers that failed or were written again."""
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
    """The turns up to the last prompt, without its earlier answer, because it is to be answered again."""
    return turns[:-1] if turns and turns[-1].role == "assistant" else turns


def _parameters_of(generation: Generation) -> Parameters:
    """The parameters of an earlier request without its seed, so that the sampling differs."""
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
    # The first message is of the conversation that requested the answer; later ones are in its branches.
    answers = Message.objects.select_related("conversation", "generation").filter(generation=generation_id)
    answer = answers.order_by("pk")[0]
    prompt = answer.conversation.messages.filter(pk__lt=answer.pk).last()
    is_retry = prompt is None or prompt.role != Role.USER
    return Exchange(answer.conversation, None if is_retry else prompt, answer)


@transaction.atomic
def _take_back(exchange: Exchange, *, is_new: bool) -> None:
    """Remove the messages of a send that did not reach the queue. Its generation row stays."""
    exchange.answer.delete()
    if exchange.prompt is not None:
        exchange.prompt.delete()
    if is_new:
        exchange.conversation.delete()


def _title(text: str) -> str:
    """A title: the first line of the text, cut after a word."""
    line = text.partition("\n")[0].strip()
    if len(line) <= TITLE_LENGTH:
        return line
    return line[: TITLE_LENGTH - 1].rpartition(" ")[0] + "…" if " " in line[:TITLE_LENGTH] else line[:TITLE_LENGTH]
