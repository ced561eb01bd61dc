"""Sends messages in conversations, writes answers again, and continues them."""

from dataclasses import dataclass, field, replace
from uuid import UUID

from django.db import transaction
from django.utils.translation import gettext as _

from accounts.models import User
from billing.ledger import InsufficientCredits
from billing.ledger.thresholds import call_after_refusal
from chat.branches import AT_THE_END, Branches, MessageGone, Place, read_branches, read_turns
from chat.models import TITLE_LENGTH, Conversation, Message, Role
from chat.settings import Settings
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
from inference.prompting.prompts import PromptTooLong, clean_prompt

MOST_CHARACTERS_A_TOKEN = 64  # tokenizers have tokens of many blanks, and few that are longer


class AnswerInProgress(Exception):
    """An answer in the conversation is still being written; stop it first, or wait."""


class NotContinuable(Exception):
    """Only an answer that ended because it reached its length can be continued."""


class NotWrittenHere(Exception):
    """The answer was imported, so there is no request that could be repeated."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """A prompt and its requested answer. There is no prompt if an answer was written again or continued.

    `is_repeated` says that an earlier request with the same idempotency key made them.
    """

    conversation: Conversation
    prompt: Message | None
    answer: Message
    is_repeated: bool = False


@dataclass(slots=True)
class _Request:
    """The user and the idempotency key of a request for an answer.

    `tip_before` is the conversation's tip before the request, to be set again if the queue is down.
    """

    user: User
    idempotency_key: str
    inputs_hash: str
    caller: Caller
    tip_before: int | None = field(default=None, init=False)

    def open(self, conversation_id: UUID) -> tuple[Conversation, Branches]:
        """Lock the conversation and read its branches. Raises AnswerInProgress, and what `refuse_repeat` raises."""
        conversation = lock_conversation(conversation_id)
        self.refuse_repeat()
        refuse_while_answering(conversation)
        return conversation, read_branches(conversation)

    def refuse_repeat(self) -> None:
        """Raises AlreadyRequested or IdempotencyConflict if the key was used. Lock the conversation first."""
        refuse_repeat(user=self.user, idempotency_key=self.idempotency_key, inputs_hash=self.inputs_hash)

    def answer(
        self,
        conversation: Conversation,
        parent_id: int,
        model: CatalogueModel,
        turns: list[Turn],
        parameters: Parameters,
    ) -> Message:
        """Request the answer to these turns, and show its branch. Raises as `request_generation` does."""
        generation = request_generation(
            user=self.user,
            model=model,
            prompt=compose_prompt(model, conversation.system_prompt, turns),
            parameters=parameters,
            idempotency_key=self.idempotency_key,
            inputs_hash=self.inputs_hash,
            caller=self.caller,
        )
        answer = Message.objects.create(
            conversation=conversation, role=Role.ASSISTANT, generation=generation, parent_id=parent_id
        )
        self.tip_before = conversation.tip_id
        conversation.model, conversation.tip = model, answer
        conversation.save(update_fields=["model", "tip", "updated_at", "system_prompt", "parameters"])
        return answer


@dataclass(frozen=True, slots=True)
class _Draft:
    """A prompt that is to be sent, where it goes, and how it is to be answered."""

    model: CatalogueModel
    text: str
    parameters: Parameters
    place: Place
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
    place: Place = AT_THE_END,
    settings: Settings | None = None,
) -> Exchange:
    """Add a prompt and request its answer, in a new conversation if none is given.

    `settings` become those of the conversation; without them it keeps its own.

    A repeated call with the same key and message returns what the first one made, so a double click sends once. Raises
    AnswerInProgress, MessageGone, and what `request_generation` raises. If the queue is down, nothing stays in the
    conversation.
    """
    text = clean_prompt(text)
    inputs: list[object] = ["send", conversation.pk if conversation else "new", model.pk, text, _plain(parameters)]
    if place != AT_THE_END:
        inputs.append(place)
    if settings is not None and settings.system_prompt:
        inputs.append(settings.system_prompt)
    request = _Request(user, idempotency_key, hash_inputs(*inputs), caller)
    try:
        return _add_exchange(request, conversation, _Draft(model, text, parameters, place, settings))
    except _ENDS_OTHERWISE as error:
        return _see_to(error, request, is_new=conversation is None)


def _plain(parameters: Parameters) -> str:
    """The parameters as text, as it was before the parameters that pages never set were added.

    So a retry of a request from before that still has the same hash.
    """
    return str(parameters).replace(", frequency_penalty=0.0, presence_penalty=0.0, top_logprobs=None", "")


def retry_answer(
    *, user: User, answer: Message, idempotency_key: str, model: CatalogueModel | None = None, caller: Caller = PAGE
) -> Exchange:
    """Request another version of an answer, from its own model or from another one, and show it.

    The model sees what came before the answer. Earlier versions and what was said after them are kept. Raises what
    `send_message` raises.
    """
    inputs: list[object] = ["retry", answer.pk] if model is None else ["retry", answer.pk, model.pk]
    request = _Request(user, idempotency_key, hash_inputs(*inputs), caller)
    try:
        return _add_version(request, answer, model)
    except _ENDS_OTHERWISE as error:
        return _see_to(error, request, is_new=False)


def continue_answer(*, user: User, answer: Message, idempotency_key: str, caller: Caller = PAGE) -> Exchange:
    """Request what goes on from the last word of an answer that reached its length, and show it.

    Raises NotContinuable, and what `send_message` raises.
    """
    request = _Request(user, idempotency_key, hash_inputs("continue", answer.pk), caller)
    try:
        return _add_continuation(request, answer)
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
            _take_back(_exchange_of(error.generation_id), request.tip_before, is_new=is_new)
    raise error


@transaction.atomic
def _add_exchange(request: _Request, conversation: Conversation | None, draft: _Draft) -> Exchange:
    if conversation is None:
        request.refuse_repeat()
        conversation = Conversation.objects.create(user=request.user, title=_title(draft.text), model=draft.model)
        branches = Branches()
    else:
        conversation, branches = request.open(conversation.pk)
    if draft.settings is not None:
        conversation.system_prompt = draft.settings.system_prompt  # saved with the tip, when the answer is requested
        conversation.parameters = draft.settings.chosen
    parent_id = draft.place.parent_in(branches)
    turns = [] if parent_id is None else read_turns(conversation, branches.path(parent_id))
    prompt = Message.objects.create(
        conversation=conversation, role=Role.USER, text=draft.text, parent_id=parent_id, is_first=parent_id is None
    )
    turns.append(Turn("user", draft.text))
    answer = request.answer(conversation, prompt.pk, draft.model, turns, draft.parameters)
    return Exchange(conversation, prompt, answer)


@transaction.atomic
def _add_version(request: _Request, answer: Message, model: CatalogueModel | None) -> Exchange:
    conversation, branches = request.open(answer.conversation_id)
    earlier = generation_of(answer, branches)
    parent_id = branches.parents[answer.pk]
    if parent_id is None:
        raise MessageGone(_("The prompt of this answer was deleted meanwhile. Reload the page."))
    turns = read_turns(conversation, branches.path(parent_id))
    again = request.answer(conversation, parent_id, model or earlier.model, turns, _parameters_of(earlier, model))
    return Exchange(conversation, None, again)


@transaction.atomic
def _add_continuation(request: _Request, answer: Message) -> Exchange:
    conversation, branches = request.open(answer.conversation_id)
    earlier = generation_of(answer, branches)
    if not is_continuable(earlier):
        raise NotContinuable(_("Only an answer that reached its length can be continued."))
    turns = read_turns(conversation, branches.path(answer.pk))
    rest = request.answer(conversation, answer.pk, earlier.model, turns, _parameters_of(earlier, None))
    return Exchange(conversation, None, rest)


def generation_of(answer: Message, branches: Branches) -> Generation:
    """The generation of an answer. Raises MessageGone if the message was deleted, and NotWrittenHere."""
    branches.require(answer.pk)
    generation = Generation.objects.select_related("model").filter(message=answer).first()
    if generation is None:
        raise NotWrittenHere(_("This answer was imported, not written here. Edit its prompt to get another one."))
    return generation


def is_continuable(generation: Generation) -> bool:
    """Whether an answer ended because it reached its length, so that there may be more to say."""
    is_cut = generation.state == GenerationState.COMPLETED and generation.finish_reason == "length"
    return is_cut and generation.completion_tokens > 0


def lock_conversation(conversation_id: UUID) -> Conversation:
    """The conversation, locked until the transaction ends. Raises MessageGone if it was deleted meanwhile."""
    conversation = Conversation.objects.select_for_update().filter(pk=conversation_id, deleted_at=None).first()
    if conversation is None:
        raise MessageGone(_("This conversation was deleted meanwhile."))
    return conversation


def refuse_while_answering(conversation: Conversation) -> None:
    """Raise AnswerInProgress if an answer is queued or being written anywhere in the conversation."""
    if Generation.objects.live().filter(message__conversation=conversation).exists():
        raise AnswerInProgress(_("An answer is still being written here. Stop it, or wait until it ends."))


def compose_prompt(model: CatalogueModel, system_prompt: str, turns: list[Turn]) -> Prompt:
    """The prompt of these turns in a conversation with this system prompt.

    Raises PromptTooLong for so many characters that no tokenizer makes them fit, before it is asked.
    """
    count = len(system_prompt) + sum(len(turn.text) for turn in turns)
    if count > model.context_tokens * MOST_CHARACTERS_A_TOKEN:
        raise PromptTooLong(
            _("The conversation has {count:,} characters, more than {name} can read. Start a new chat.").format(
                count=count, name=model.name
            )
        )
    return Prompt(alternate(turns), system_prompt)


def _parameters_of(generation: Generation, other_model: CatalogueModel | None) -> Parameters:
    """The parameters of an earlier request without its seed, so that the sampling differs.

    Another model uses its own defaults; only the length and the stop strings stay.
    """
    length, stop = generation.requested_completion_tokens, tuple(generation.stop)
    if other_model is not None and other_model.pk != generation.model_id:
        return Parameters(max_tokens=length, stop=stop)
    return Parameters(
        max_tokens=length,
        temperature=generation.temperature,
        top_p=generation.top_p,
        top_k=generation.top_k,
        stop=stop,
        min_p=generation.min_p,
        repetition_penalty=generation.repetition_penalty,
        frequency_penalty=generation.frequency_penalty,
        presence_penalty=generation.presence_penalty,
    )


def _exchange_of(generation_id: UUID) -> Exchange:
    """The exchange that an earlier request made. Raises MessageGone if it was deleted since."""
    # The first message is of the conversation that requested the answer; later ones are in its branches.
    answers = Message.objects.select_related("conversation", "generation").filter(generation=generation_id)
    answer = answers.order_by("pk").first()
    if answer is None:
        raise MessageGone(_("This was sent before, and its messages were deleted meanwhile."))
    before = answer.conversation.messages.filter(pk__lt=answer.pk).last()
    is_prompt = before is not None and before.role == Role.USER and answer.parent_id in (None, before.pk)
    return Exchange(answer.conversation, before if is_prompt else None, answer)


@transaction.atomic
def _take_back(exchange: Exchange, tip_before: int | None, *, is_new: bool) -> None:
    """Remove the messages of a request that did not reach the queue, and show the branch of before.

    Its generation row stays. If something was added after the answer meanwhile, all stays, with an answer that failed.
    """
    conversation = lock_conversation(exchange.conversation.pk)
    parts = [exchange.answer] if exchange.prompt is None else [exchange.answer, exchange.prompt]
    if Message.objects.filter(parent__in=parts).exclude(pk=exchange.answer.pk).exists():
        return
    if conversation.tip_id == exchange.answer.pk:
        conversation.tip = conversation.messages.filter(pk=tip_before).first() if tip_before else None
        conversation.save(update_fields=["tip"])
    exchange.answer.delete()
    if exchange.prompt is not None:
        exchange.prompt.delete()
    if is_new:
        conversation.delete()


def _title(text: str) -> str:
    """A title: the first line of the text, cut after a word."""
    line = text.partition("\n")[0].strip()
    if len(line) <= TITLE_LENGTH:
        return line
    return line[: TITLE_LENGTH - 1].rpartition(" ")[0] + "…" if " " in line[:TITLE_LENGTH] else line[:TITLE_LENGTH]
