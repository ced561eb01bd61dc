"""Conversations and their messages for programs: the same as on the chat pages."""

from typing import Any
from uuid import UUID, uuid4

import django_filters
from django.db.models import QuerySet
from django.http import Http404
from django.shortcuts import get_object_or_404
from django.utils.functional import cached_property
from django.utils.translation import gettext as _
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.callers.views import ApiList, ApiView
from chat import messages
from chat.api import examples
from chat.api.serializers import (
    BranchIn,
    ConversationChangesIn,
    ConversationIn,
    ConversationOut,
    ExchangeOut,
    MessageOut,
    RatingIn,
    RegenerateIn,
    SendIn,
)
from chat.branches import MessageGone, Place, read_branches
from chat.conversations import (
    TooManyPinned,
    branch_conversation,
    change_conversation,
    hide_conversation,
    open_conversation,
)
from chat.models import Conversation, Message, Role
from chat.search import find_conversation_ids
from chat.versions import delete_exchange, rate_answer, select_version
from core.rest.idempotency import read_idempotency_key, shorten
from core.rest.problems import CONFLICT, explain
from core.rest.schema import operation
from inference.api.serializers import parameters_of
from inference.api.views import CHAT, OPTIONAL_KEY, find_model, key_of
from inference.generations.endings import stop_generation
from inference.generations.parameters import Caller
from inference.models import Generation

TAG = "Conversations"
MOST_KEPT_CHARACTERS = 90  # of a key kept as it was sent: with the prefix `api-chat:` it fits into the column
ASKING = (402, 404, 409, 422, 503)

explain(messages.AnswerInProgress, CONFLICT)
explain(messages.NotContinuable, CONFLICT)
explain(messages.NotWrittenHere, CONFLICT)
explain(MessageGone, CONFLICT)
explain(TooManyPinned, CONFLICT)


class ConversationFilter(django_filters.FilterSet):  # type: ignore[misc]
    """Filters conversations by words and by model."""

    q = django_filters.CharFilter(
        max_length=200,
        method="search",
        help_text="Words of the title or of one message. The last one may go on: `fox` finds `foxes`.",
    )
    model = django_filters.CharFilter(field_name="model_id", max_length=64)
    is_pinned = django_filters.BooleanFilter(field_name="pinned_at", lookup_expr="isnull", exclude=True)
    is_archived = django_filters.BooleanFilter(field_name="archived_at", lookup_expr="isnull", exclude=True)

    class Meta:
        model = Conversation
        fields = ("q", "model", "is_pinned", "is_archived")

    def search(self, conversations: Any, _name: str, text: str) -> Any:
        """Search as the page does."""
        return conversations.filter(pk__in=find_conversation_ids(user=self.request.user, text=text))


class ConversationView(ApiView):
    """A view of one of the caller's conversations."""

    permission_classes = (CHAT,)

    def find(self, conversation_id: UUID) -> Conversation:
        """The caller's conversation. Raises Http404."""
        own = Conversation.objects.for_user(self.caller).select_related("model")
        return get_object_or_404(own, pk=conversation_id)

    def find_message(self, conversation_id: UUID, message_id: int) -> Message:
        """A message of the caller's conversation. Raises Http404."""
        own = Message.objects.for_user(self.caller).filter(conversation=conversation_id)
        return get_object_or_404(own.select_related("conversation"), pk=message_id)

    def find_answer(self, conversation_id: UUID, message_id: int) -> Message:
        """An answer of the caller's conversation. Raises Http404, for a prompt too."""
        message = self.find_message(conversation_id, message_id)
        if message.role != Role.ASSISTANT:
            raise Http404
        return message


class AskingView(ConversationView):
    """A view that asks for an answer."""

    def show(self, exchange: messages.Exchange) -> Response:
        """Answer 201 with the prompt and the answer, marked as a replay if the request was a repeat."""
        if exchange.is_repeated:
            self.mark_replay()
        shown = ExchangeOut({"prompt": exchange.prompt, "answer": exchange.answer})
        return Response(dict(shown.data), status=201)


class Conversations(ApiList):
    """The caller's conversations."""

    permission_classes = (CHAT,)
    serializer_class = ConversationOut
    filterset_class = ConversationFilter
    ordering = "-updated_at"

    def rows(self) -> QuerySet[Conversation]:
        return Conversation.objects.for_user(self.caller)

    @operation(
        tag=TAG, summary="List my conversations", answer=ConversationOut(many=True), example=examples.CONVERSATION
    )
    def get(self, request: Request) -> Response:
        """Those of the pages and of programs alike, the latest first."""
        return self.list(request)

    @operation(
        tag=TAG,
        summary="Open a conversation",
        answer=ConversationOut,
        example=examples.CONVERSATION,
        body=ConversationIn,
        body_example=examples.CONVERSATION_BODY,
        status=201,
        errors=(404, 422),
    )
    def post(self, _request: Request) -> Response:
        """Open an empty conversation with a model. It costs nothing."""
        fields = self.read_body(ConversationIn)
        opened = open_conversation(
            user=self.caller, model=find_model(fields["model"]), title=fields.get("title") or _("New chat")
        )
        return Response(ConversationOut(opened).data, status=201)


class One(ConversationView):
    """One conversation."""

    @operation(tag=TAG, summary="Look at a conversation", answer=ConversationOut, example=examples.CONVERSATION)
    def get(self, _request: Request, conversation_id: UUID) -> Response:
        """One conversation without its messages."""
        return Response(ConversationOut(self.find(conversation_id)).data)

    @operation(
        tag=TAG,
        summary="Change a conversation",
        answer=ConversationOut,
        example=examples.CONVERSATION | {"title": "Physics"},
        body=ConversationChangesIn,
        body_example={"title": "Physics"},
        errors=(409, 422),
    )
    def patch(self, _request: Request, conversation_id: UUID) -> Response:
        """Give it another title, pin or archive it, or restore it within CONVERSATION_UNDO_HOURS of its deletion, a day
        if the operator says nothing else. Pinning takes it out of the archive, and archiving unpins it.
        """
        fields = self.read_body(ConversationChangesIn)
        conversation = None
        if fields.get("is_deleted") is False:
            conversation = Conversation.objects.deleted_by(self.caller).filter(pk=conversation_id).first()
        conversation = conversation or self.find(conversation_id)
        change_conversation(conversation=conversation, changes=fields)
        conversation.refresh_from_db()
        return Response(ConversationOut(conversation).data)

    @operation(tag=TAG, summary="Delete a conversation", status=204, errors=(409,))
    def delete(self, _request: Request, conversation_id: UUID) -> Response:
        """It is gone at once, with its links. For CONVERSATION_UNDO_HOURS, a day if the operator says nothing else,
        `PATCH` with `{"is_deleted": false}` restores it. Then its messages and the text of its answers are erased. What
        they cost stays in the history of credits. 409 while an answer is being written.
        """
        hide_conversation(conversation=self.find(conversation_id))
        return Response(status=204)


class Messages(AskingView, ApiList):
    """The messages of one conversation."""

    serializer_class = MessageOut
    ordering = "pk"

    @cached_property
    def conversation(self) -> Conversation:
        """The caller's conversation. Raises Http404."""
        return self.find(self.kwargs["conversation_id"])

    def rows(self) -> QuerySet[Message]:
        """The messages of the caller's conversation. Raises Http404."""
        return self.conversation.messages.select_related("generation__hold")

    def get_serializer_context(self) -> dict[str, Any]:
        return {**super().get_serializer_context(), "parents": read_branches(self.conversation).parents}

    @operation(tag=TAG, summary="List the messages", answer=MessageOut(many=True), example=examples.ANSWER)
    def get(self, request: Request, conversation_id: UUID) -> Response:  # noqa: ARG002  read from kwargs
        """What was said, the oldest first; answers with what they cost. Messages with the same `parent_id` are versions
        of each other. The branch that the page shows ends with `tip_id` of the conversation: go from there from parent
        to parent.
        """
        return self.list(request)

    @operation(
        tag=TAG,
        summary="Send a message",
        answer=ExchangeOut,
        example=examples.EXCHANGE,
        body=SendIn,
        body_example=examples.MESSAGE_BODY,
        status=201,
        errors=ASKING,
        parameters=[OPTIONAL_KEY],
    )
    def post(self, request: Request, conversation_id: UUID) -> Response:
        """Add a prompt to the end of the branch that is shown, or another version of a prompt, and ask for its answer.
        Follow it with `GET /api/v1/generations/{id}/events`, where `id` is
        that of `answer.generation`. 409 while another answer is being written here.
        """
        conversation, fields = self.find(conversation_id), self.read_body(SendIn)
        exchange = messages.send_message(
            user=self.caller,
            conversation=conversation,
            model=find_model(fields["model"]) if "model" in fields else conversation.model,
            text=fields["text"],
            parameters=parameters_of(fields),
            idempotency_key=chat_key(request),
            caller=Caller(api_key=key_of(self)),
            place=Place(in_place_of=fields.get("in_place_of")),
        )
        return self.show(exchange)


class OneMessage(ConversationView):
    """One message of a conversation."""

    @operation(
        tag=TAG,
        summary="Mark an answer",
        answer=MessageOut,
        example=examples.ANSWER | {"rating": 1},
        body=RatingIn,
        body_example={"rating": 1},
    )
    def patch(self, _request: Request, conversation_id: UUID, message_id: int) -> Response:
        """Keep whether an answer was good (1) or bad (-1); null takes it back. 404 for a prompt."""
        answer = self.find_answer(conversation_id, message_id)
        fields = self.read_body(RatingIn)
        if "rating" in fields:
            rate_answer(answer=answer, rating=fields["rating"])
        shown = Message.objects.select_related("generation__hold").get(pk=answer.pk)
        return Response(MessageOut(shown).data)

    @operation(tag=TAG, summary="Delete an exchange", status=204, errors=(409,))
    def delete(self, _request: Request, conversation_id: UUID, message_id: int) -> Response:
        """Remove a prompt with all versions of its answer, given any message of them. What was said after them stays.
        What the answers cost stays in the history of credits. 409 while an answer is being written.
        """
        delete_exchange(message=self.find_message(conversation_id, message_id))
        return Response(status=204)


class Select(ConversationView):
    """The version of a message that is shown."""

    @operation(tag=TAG, summary="Show a version", answer=ConversationOut, example=examples.CONVERSATION, errors=(409,))
    def post(self, _request: Request, conversation_id: UUID, message_id: int) -> Response:
        """Show the latest branch through this message: the page does, and the next prompt follows it. 409 while an
        answer is being written.
        """
        shown = select_version(message=self.find_message(conversation_id, message_id))
        return Response(ConversationOut(shown).data)


class Regenerate(AskingView):
    """Another version of an answer."""

    @operation(
        tag=TAG,
        summary="Write an answer again",
        answer=ExchangeOut,
        example=examples.AGAIN,
        body=RegenerateIn,
        body_example={"model": "gemma-3-1b"},
        status=201,
        errors=ASKING,
        parameters=[OPTIONAL_KEY],
    )
    def post(self, request: Request, conversation_id: UUID, message_id: int) -> Response:
        """Ask for another version of an answer, with another draw or from another model. It is paid like any other.
        Later prompts see the new version; the earlier one is kept with all that was said after it.
        """
        fields = self.read_body(RegenerateIn)
        exchange = messages.retry_answer(
            user=self.caller,
            answer=self.find_answer(conversation_id, message_id),
            model=find_model(fields["model"]) if "model" in fields else None,
            idempotency_key=chat_key(request),
            caller=Caller(api_key=key_of(self)),
        )
        return self.show(exchange)


class Continue(AskingView):
    """The rest of an answer."""

    @operation(
        tag=TAG,
        summary="Continue an answer",
        answer=ExchangeOut,
        example=examples.AGAIN,
        status=201,
        errors=ASKING,
        parameters=[OPTIONAL_KEY],
    )
    def post(self, request: Request, conversation_id: UUID, message_id: int) -> Response:
        """Go on from the last word of an answer whose `finish_reason` is `length`. The new message follows the answer
        as its parent; read one after the other, both are one text. 409 for any other answer.
        """
        exchange = messages.continue_answer(
            user=self.caller,
            answer=self.find_answer(conversation_id, message_id),
            idempotency_key=chat_key(request),
            caller=Caller(api_key=key_of(self)),
        )
        return self.show(exchange)


class Stop(ConversationView):
    """The end of the answer that is being written."""

    @operation(tag=TAG, summary="Stop the answer", status=204)
    def post(self, _request: Request, conversation_id: UUID) -> Response:
        """Stop what is being written here; without such an answer nothing happens. The prompt and the tokens produced
        until then are paid, nothing if it had not begun.
        """
        live = Generation.objects.live().filter(message__conversation=self.find(conversation_id)).first()
        if live is not None:
            stop_generation(generation=live)
        return Response(status=204)


class Branch(ConversationView):
    """A conversation that begins as another did."""

    @operation(
        tag=TAG,
        summary="Branch a conversation",
        answer=ConversationOut,
        example=examples.CONVERSATION,
        body=BranchIn,
        body_example={"message_id": 42},
        status=201,
        errors=(409,),
    )
    def post(self, _request: Request, conversation_id: UUID) -> Response:
        """Copy it up to and with an answer, or up to but without a prompt, so that you can send another in its place.
        Nothing is charged. 409 for an answer that is still being written.
        """
        conversation = self.find(conversation_id)
        message = self.find_message(conversation.pk, self.read_body(BranchIn)["message_id"])
        branch = branch_conversation(message=message)
        return Response(ConversationOut(branch).data, status=201)


def chat_key(request: Request) -> str:
    """The idempotency key of a send. Without one, each request counts as new. Raises InvalidIdempotencyKey."""
    key = read_idempotency_key(request)
    if key and len(key) > MOST_KEPT_CHARACTERS:
        key = shorten(key)
    return f"api-chat:{key or uuid4()}"
