"""Conversations and their messages."""

import uuid
from typing import Any

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Coalesce
from django.urls import reverse
from django.utils.translation import gettext_lazy as _

from inference.models import CatalogueModel

TITLE_LENGTH = 80
MOST_SEARCHED = 1_000  # conversations that a search reads


class ConversationQuerySet(models.QuerySet["Conversation"]):
    """Reads of conversations."""

    def for_user(self, user: Any) -> "ConversationQuerySet":
        """The conversations of this user, the latest first."""
        return self.filter(user=user).order_by("-updated_at")

    def searchable(self) -> "ConversationQuerySet":
        """The latest MOST_SEARCHED of these, few enough for a fast search. Takes one query."""
        beyond = self.values_list("updated_at", flat=True)[MOST_SEARCHED : MOST_SEARCHED + 1].first()
        return self if beyond is None else self.filter(updated_at__gt=beyond)

    def matching(self, text: str) -> "ConversationQuerySet":
        """Those whose title or messages contain the text, in upper or lower case.

        The subquery lets PostgreSQL search one conversation after the other until enough are found. For an EXISTS it
        would read the messages of all users.
        """
        with_text = Message.objects.order_by().filter(conversation=models.OuterRef("pk"), text__icontains=text)
        conversations = self.alias(with_text=models.Subquery(with_text.values("pk")[:1]))
        return conversations.filter(Q(title__icontains=text) | Q(with_text__isnull=False))


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
        indexes = [models.Index(name="chat_conversation_of_user", fields=["user", "-updated_at"])]
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


class Message(models.Model):
    """One turn. An answer refers to the generation that writes it, and gets its text when the generation ends."""

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
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        verbose_name = _("message")
        verbose_name_plural = _("messages")
        ordering = ["id"]
        indexes = [
            models.Index(name="chat_message_rated", fields=["rating"], condition=Q(rating__isnull=False)),
        ]
        constraints = [
            models.CheckConstraint(
                name="chat_message_answers_have_a_generation",
                condition=Q(role=Role.USER, generation__isnull=True) | Q(role=Role.ASSISTANT, generation__isnull=False),
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
