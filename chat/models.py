"""Conversations and their messages."""

import uuid
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import BrinIndex, GinIndex
from django.contrib.postgres.search import SearchVectorField
from django.db import models
from django.db.models import Q
from django.db.models.functions import Coalesce, Now
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from inference.models import CatalogueModel

TITLE_LENGTH = 80
MODEL_NAME_LENGTH = 100


class ConversationQuerySet(models.QuerySet["Conversation"]):
    """Reads of conversations."""

    def for_user(self, user: Any) -> "ConversationQuerySet":
        """The conversations of this user that are not deleted, the latest first."""
        return self.filter(user=user, deleted_at=None).order_by("-updated_at")

    def deleted_by(self, user: Any) -> "ConversationQuerySet":
        """The deleted conversations of this user that can still be restored."""
        return self.filter(user=user, deleted_at__isnull=False)

    def listed(self) -> "ConversationQuerySet":
        """Those of the list: neither pinned, nor archived, nor deleted."""
        return self.filter(pinned_at=None, archived_at=None, deleted_at=None)

    def pinned(self) -> "ConversationQuerySet":
        """The pinned ones, the latest pin first."""
        return self.filter(pinned_at__isnull=False, archived_at=None, deleted_at=None).order_by("-pinned_at")

    def archived(self) -> "ConversationQuerySet":
        """The archived ones, the latest of them first."""
        return self.filter(archived_at__isnull=False, deleted_at=None).order_by("-archived_at", "-pk")

    def to_erase(self) -> "ConversationQuerySet":
        """The deleted ones that can be restored no more, by the database's clock."""
        return self.filter(deleted_at__lt=Now() - timedelta(hours=settings.CONVERSATION_UNDO_HOURS))


class Conversation(models.Model):
    """A conversation of one user, with one model at a time."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="conversations")
    title = models.CharField(max_length=TITLE_LENGTH)
    model = models.ForeignKey("inference.CatalogueModel", on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)
    pinned_at = models.DateTimeField(null=True, blank=True)
    archived_at = models.DateTimeField(null=True, blank=True)
    # A deleted conversation is hidden at once and erased later, so that its customer can take the deletion back.
    deleted_at = models.DateTimeField(null=True, blank=True)
    system_prompt = models.TextField(blank=True, db_default="")
    # What the customer has chosen of `inference.generations.parameters.Parameters`, by field name.
    parameters = models.JSONField(default=dict, blank=True, db_default={})
    # The end of the branch that the page shows; see `chat.branches`.
    tip = models.ForeignKey("Message", on_delete=models.SET_NULL, null=True, blank=True, related_name="+")

    objects = ConversationQuerySet.as_manager()

    class Meta:
        verbose_name = _("conversation")
        verbose_name_plural = _("conversations")
        indexes = [
            models.Index(name="chat_conversation_of_user", fields=["user", "-updated_at"]),
            BrinIndex(name="chat_conversation_by_time", fields=["created_at"], autosummarize=True),  # for staff
            # Few conversations are pinned, archived or deleted, so these indexes are small.
            models.Index(
                name="chat_conversation_pinned", fields=["user", "-pinned_at"], condition=Q(pinned_at__isnull=False)
            ),
            models.Index(
                name="chat_conversation_archived",
                fields=["user", "-archived_at", "-id"],
                condition=Q(archived_at__isnull=False),
            ),
            models.Index(
                name="chat_conversation_deleted", fields=["deleted_at"], condition=Q(deleted_at__isnull=False)
            ),
        ]
        constraints = [models.CheckConstraint(name="chat_conversation_has_a_title", condition=~Q(title=""))]

    def __str__(self) -> str:
        return f"conversation {self.pk}"  # staff see this; the title would be the customer's text

    def get_absolute_url(self) -> str:
        return reverse("chat:conversation", args=[self.pk])


class Role(models.TextChoices):
    """The author of a message."""

    USER = "user", _("you")
    ASSISTANT = "assistant", _("Gemma")


class Rating(models.IntegerChoices):
    """What a customer thinks of an answer."""

    BAD = -1, _("bad")
    GOOD = 1, _("good")


class MessageQuerySet(models.QuerySet["Message"]):
    """Reads of messages."""

    def for_user(self, user: Any) -> "MessageQuerySet":
        """The messages of this user's conversations, without those of deleted ones."""
        return self.filter(conversation__user=user, conversation__deleted_at=None)


class Message(models.Model):
    """One turn. An answer refers to the generation that writes it, and gets its text when the generation ends.

    An imported answer was written elsewhere, and refers to none.
    """

    conversation = models.ForeignKey(Conversation, on_delete=models.CASCADE, related_name="messages")
    role = models.CharField(max_length=9, choices=Role.choices)
    text = models.TextField(blank=True)
    # A branch has messages with the same generations as its origin: each generation is charged once.
    generation = models.ForeignKey(
        "inference.Generation",
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="messages",
        related_query_name="message",
    )
    # The message that this one follows; see `chat.branches`.
    parent = models.ForeignKey("self", on_delete=models.CASCADE, null=True, blank=True, related_name="children")
    is_first = models.BooleanField(default=False, db_default=False)
    rating = models.SmallIntegerField(null=True, blank=True, choices=Rating.choices)
    # The model, or else the product, that wrote an imported answer. It has no generation: it cost nothing here.
    imported_from = models.CharField(max_length=MODEL_NAME_LENGTH, blank=True, db_default="")
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = MessageQuerySet.as_manager()

    class Meta:
        verbose_name = _("message")
        verbose_name_plural = _("messages")
        ordering = ["id"]
        indexes = [
            models.Index(name="chat_message_rated", fields=["rating"], condition=Q(rating__isnull=False)),
        ]
        constraints = [
            models.CheckConstraint(
                name="chat_message_answers_have_a_source",
                condition=Q(role=Role.USER, generation__isnull=True, imported_from="")
                | Q(role=Role.ASSISTANT, generation__isnull=False, imported_from="")
                | Q(role=Role.ASSISTANT, generation__isnull=True) & ~Q(imported_from=""),
            ),
            models.UniqueConstraint(
                name="chat_message_a_generation_once_a_conversation", fields=["generation", "conversation"]
            ),
            models.CheckConstraint(
                name="chat_message_the_first_follows_none", condition=Q(is_first=False) | Q(parent__isnull=True)
            ),
            models.CheckConstraint(
                name="chat_message_answers_are_rated",
                condition=Q(rating__isnull=True) | Q(role=Role.ASSISTANT, rating__in=Rating.values),
            ),
        ]

    def __str__(self) -> str:
        return f"message {self.pk}"


class MessageWords(models.Model):
    """The words of a message, for `chat.search`. A trigger writes them (`chat/sql/keep_words.sql`), nobody else."""

    message = models.OneToOneField(Message, on_delete=models.CASCADE, primary_key=True, related_name="+")
    words = SearchVectorField()

    class Meta:
        verbose_name = _("words of a message")
        verbose_name_plural = _("words of messages")
        indexes = [GinIndex(name="chat_messagewords_words", fields=["words"])]

    def __str__(self) -> str:
        return f"words of message {self.pk}"


class SharedLinkQuerySet(models.QuerySet["SharedLink"]):
    """Reads of shared links."""

    def of_user(self, user: Any) -> "SharedLinkQuerySet":
        """The links of this user to conversations that are not deleted, the latest first."""
        return self.filter(conversation__user=user, conversation__deleted_at=None).order_by("-created_at")

    def open(self) -> "SharedLinkQuerySet":
        """Those that can be read now, by the database's clock."""
        unexpired = Q(expires_at=None) | Q(expires_at__gt=Now())
        return self.filter(
            unexpired, revoked_at=None, conversation__deleted_at=None, conversation__user__is_active=True
        )


class SharedLink(models.Model):
    """A link with which anybody reads a conversation as it was when it was shared.

    The token is kept as it is, so that its customer can copy the link again. Whoever can read this table can read the
    messages too, so a hash would protect nothing (docs/adr/0048).
    """

    token = models.CharField(max_length=43, unique=True)
    key = models.UUIDField()  # of the form: a double click makes one link
    conversation = models.ForeignKey(Conversation, on_delete=models.CASCADE, related_name="shared_links")
    title = models.CharField(max_length=TITLE_LENGTH)
    # The ids of the messages that were shown, the first one first. What is added later, or on another branch, is not.
    message_ids = ArrayField(models.BigIntegerField())
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)

    objects = SharedLinkQuerySet.as_manager()

    class Meta:
        verbose_name = _("shared link")
        verbose_name_plural = _("shared links")
        constraints = [
            models.CheckConstraint(name="chat_sharedlink_shows_something", condition=~Q(message_ids=[])),
            models.UniqueConstraint(name="chat_sharedlink_once_a_form", fields=["conversation", "key"]),
        ]

    def __str__(self) -> str:
        return f"shared link {self.pk}"  # not the token: staff may see this

    def get_absolute_url(self) -> str:
        return reverse("chat:shared", args=[self.token])


def _count_marks(rating: Rating) -> Coalesce:
    rated = Message.objects.order_by().filter(rating=rating, generation__model=models.OuterRef("pk"))
    counted = rated.values("generation__model").annotate(count=models.Count("pk")).values("count")
    return Coalesce(models.Subquery(counted), 0)


class RatedModel(CatalogueModel):
    """A model as its customers mark its answers, for staff."""

    class Meta:
        proxy = True
        verbose_name = _("marks of a model")
        verbose_name_plural = _("marks by model")


def with_marks(rated: models.QuerySet[Any]) -> models.QuerySet[Any]:
    """These models with the numbers of `good` and `bad` marks. Only marked messages are read, over their index."""
    marked: models.QuerySet[Any] = rated.annotate(good=_count_marks(Rating.GOOD), bad=_count_marks(Rating.BAD))
    return marked
