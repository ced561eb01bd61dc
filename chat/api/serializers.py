"""Bodies and answers of chat's part of the API."""

from typing import Any

from django.conf import settings
from rest_framework import serializers

from chat.models import TITLE_LENGTH, Conversation, Message, Role
from core.rest.fields import ApiInput, Integer, Text
from inference.api.serializers import GenerationOut, SamplingIn, Words


class ConversationOut(serializers.ModelSerializer[Conversation]):
    """A conversation without its messages."""

    model = serializers.CharField(source="model_id", read_only=True, help_text="The model that was asked last.")

    class Meta:
        model = Conversation
        fields = ("id", "title", "model", "created_at", "updated_at")
        read_only_fields = fields


class ConversationIn(ApiInput):
    """A new conversation."""

    model = Text(max_length=64, help_text="A key of GET /api/v1/models.")
    title = Text(required=False, max_length=TITLE_LENGTH)


class TitleIn(ApiInput):
    """Another title."""

    title = Text(required=False, max_length=TITLE_LENGTH)


class MessageOut(serializers.ModelSerializer[Message]):
    """One turn of a conversation."""

    role = serializers.ChoiceField(Role.values, read_only=True)
    generation = GenerationOut(read_only=True, allow_null=True, help_text="Of an answer: how it stands, and its cost.")

    class Meta:
        model = Message
        fields = ("id", "role", "text", "generation", "created_at")
        read_only_fields = fields


class SendIn(SamplingIn):
    """A prompt, and how to answer it."""

    text = Words(help_text=f"At most {settings.PROMPT_MAX_CHARACTERS:,} characters.")
    model = Text(required=False, max_length=64, help_text="The conversation's own, unless you choose another.")
    max_tokens = Integer(required=False, allow_null=True, min_value=1, max_value=2**31 - 1)


class ExchangeOut(serializers.Serializer[Any]):
    """A prompt and the answer that was asked for; without a prompt when the last one is answered again."""

    prompt = MessageOut(allow_null=True)
    answer = MessageOut()


class BranchIn(ApiInput):
    """Where to branch."""

    message_id = Integer(
        min_value=1, max_value=2**53 - 1, help_text="An answer, or a prompt to put another in its place."
    )
