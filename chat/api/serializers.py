"""Bodies and answers of chat's part of the API."""

from typing import Any

from django.conf import settings
from rest_framework import serializers

from chat.models import TITLE_LENGTH, Conversation, Message, Rating, Role, SharedLink
from chat.transfer.sharing import DAYS
from core.rest.fields import ApiInput, Flag, Integer, Text
from inference.api.serializers import GenerationOut, SamplingIn, Words


class ConversationOut(serializers.ModelSerializer[Conversation]):
    """A conversation without its messages."""

    model = serializers.CharField(source="model_id", read_only=True, help_text="The model that was asked last.")
    tip_id = serializers.IntegerField(
        read_only=True,
        allow_null=True,
        help_text="The message that ends the branch which is shown; null: the latest message.",
    )

    class Meta:
        model = Conversation
        fields = ("id", "title", "model", "tip_id", "created_at", "updated_at", "pinned_at", "archived_at")
        read_only_fields = fields


class ConversationIn(ApiInput):
    """A new conversation."""

    model = Text(max_length=64, help_text="A key of GET /api/v1/models.")
    title = Text(required=False, max_length=TITLE_LENGTH)


class ConversationChangesIn(ApiInput):
    """What is to be changed of a conversation."""

    title = Text(required=False, max_length=TITLE_LENGTH)
    is_pinned = Flag(required=False, help_text="Pinned conversations stand on top of the page's list.")
    is_archived = Flag(required=False, help_text="Archived ones leave the page's list.")
    is_deleted = Flag(required=False, help_text="`true` deletes as DELETE does; `false` restores.")


class MessageOut(serializers.ModelSerializer[Message]):
    """One turn of a conversation."""

    role = serializers.ChoiceField(Role.values, read_only=True)
    parent_id = serializers.SerializerMethodField(
        help_text="The message that this one follows; null: none. An answer that follows an answer continues it."
    )
    rating = serializers.ChoiceField(
        Rating.values, read_only=True, allow_null=True, help_text="Of an answer: good (1) or bad (-1)."
    )
    generation = GenerationOut(read_only=True, allow_null=True, help_text="Of an answer: how it stands, and its cost.")
    imported_from = serializers.CharField(
        read_only=True, help_text="Who wrote an imported answer, which has no generation; else empty."
    )

    class Meta:
        model = Message
        fields = ("id", "parent_id", "role", "text", "rating", "generation", "imported_from", "created_at")
        read_only_fields = fields

    def get_parent_id(self, message: Message) -> int | None:
        """Messages from before there were versions do not say so themselves; the list of messages knows it."""
        parents: dict[int, int | None] = self.context.get("parents", {})
        return parents.get(message.pk, message.parent_id)


class SendIn(SamplingIn):
    """A prompt, and how to answer it."""

    text = Words(help_text=f"At most {settings.PROMPT_MAX_CHARACTERS:,} characters.")
    model = Text(required=False, max_length=64, help_text="The conversation's own, unless you choose another.")
    max_tokens = Integer(required=False, allow_null=True, min_value=1, max_value=2**31 - 1)
    in_place_of = Integer(
        required=False,
        min_value=1,
        max_value=2**53 - 1,
        help_text="A prompt of this conversation: yours becomes another version of it. Else yours goes to the end.",
    )


class RegenerateIn(ApiInput):
    """Who answers again."""

    model = Text(required=False, max_length=64, help_text="The answer's own, unless you choose another.")


class RatingIn(ApiInput):
    """What you think of an answer."""

    rating = serializers.ChoiceField(
        Rating.values, required=False, allow_null=True, help_text="Good (1), bad (-1), or null."
    )


class ExchangeOut(serializers.Serializer[Any]):
    """A prompt and the answer that was asked for; without a prompt when an answer is written again or continued."""

    prompt = MessageOut(allow_null=True)
    answer = MessageOut()


class BranchIn(ApiInput):
    """Where to branch."""

    message_id = Integer(
        min_value=1, max_value=2**53 - 1, help_text="An answer, or a prompt to put another in its place."
    )


class LinkIn(ApiInput):
    """How long a new link can be read."""

    days = Integer(
        required=False,
        allow_null=True,
        default=DAYS[0],
        min_value=1,
        max_value=365,
        help_text="For so many days; null: until you revoke it.",
    )


class LinkOut(serializers.ModelSerializer[SharedLink]):
    """A link with which anybody reads a conversation as it was when the link was made."""

    url = serializers.SerializerMethodField()

    class Meta:
        model = SharedLink
        fields = ("id", "url", "title", "created_at", "expires_at", "revoked_at")
        read_only_fields = fields

    def get_url(self, link: SharedLink) -> str:
        """The whole address."""
        return f"{settings.PUBLIC_URL}{link.get_absolute_url()}"


class ExportedMessageOut(serializers.Serializer[Any]):
    """A message of a file."""

    number = serializers.IntegerField(help_text="From 1 on, in the order in which they were written.")
    follows = serializers.IntegerField(allow_null=True, help_text="Those that follow the same one are its versions.")
    role = serializers.CharField(help_text="`user` or `assistant`.")
    text = serializers.CharField()
    created_at = serializers.DateTimeField()
    model = serializers.CharField(required=False, help_text="Of an answer: who wrote it.")
    rating = serializers.IntegerField(required=False, allow_null=True, help_text="Of an answer: 1, -1 or null.")


class ExportOut(serializers.Serializer[Any]):
    """A conversation with all versions of its messages, as the page's import reads it."""

    format = serializers.CharField()
    version = serializers.IntegerField()
    title = serializers.CharField()
    model = serializers.CharField()
    system_prompt = serializers.CharField()
    parameters = serializers.DictField()
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()
    shown = serializers.IntegerField(allow_null=True, help_text="The last message of the branch that the page shows.")
    messages = ExportedMessageOut(many=True)
