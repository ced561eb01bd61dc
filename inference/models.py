"""The tables of inference: the catalogue of models, generations (one paid answer each), and their delivery."""

import uuid
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import BrinIndex
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from core.rest.throttles import Usage
from inference import heartbeats
from inference.engine.base import MAX_REPETITION_PENALTY, MAX_TOKEN_PENALTY, MAX_TOP_K, MAX_TOP_LOGPROBS


def queue_of(model_key: str) -> str:
    """The Celery queue that the GPU workers of this model listen on."""
    return f"generate.{model_key}"


class PromptFormat(models.TextChoices):
    """How a prompt is composed from messages. A catalogue model has one of OF_MODELS; TEXT is used as it stands."""

    CHAT_TEMPLATE = "chat_template", _("the model's own chat template")
    TRANSCRIPT = "transcript", _("a transcript, for base models")
    OPEN_TRANSCRIPT = "open_transcript", _("a transcript whose last line is gone on with")
    TEXT = "text", _("the text as it stands")


OF_MODELS = (PromptFormat.CHAT_TEMPLATE, PromptFormat.TRANSCRIPT)


class TokenIds(ArrayField[Any, Any]):
    """A list of token ids, sent to PostgreSQL as it is: to prepare every id by itself, as Django would, takes long."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"base_field": models.IntegerField(), **options})

    def get_db_prep_value(self, value: Any, connection: Any, prepared: bool = False) -> Any:  # noqa: ARG002  as Django calls it
        """The list, or None."""
        return value


class CatalogueModelQuerySet(models.QuerySet["CatalogueModel"]):
    """Reads of the catalogue."""

    def offered(self) -> "CatalogueModelQuerySet":
        """The models that customers see, in the operator's order; some may be unavailable."""
        return self.filter(is_active=True).order_by("position", "key")


class CatalogueModel(models.Model):
    """A model that Tally sells. While it cannot answer, for example without weights, `unavailable_reason` says why."""

    key = models.SlugField(max_length=64, primary_key=True)
    name = models.CharField(max_length=100)
    description = models.CharField(max_length=200, blank=True)
    source = models.CharField(max_length=300, help_text=_("A hub id, or a local folder."))
    context_tokens = models.PositiveIntegerField(help_text=_("Prompt and answer together."))
    max_completion_tokens = models.PositiveIntegerField()
    prompt_format = models.CharField(
        max_length=20,
        choices=[(choice.value, choice.label) for choice in OF_MODELS],
        default=PromptFormat.CHAT_TEMPLATE,
        db_default=PromptFormat.CHAT_TEMPLATE,
        help_text=_("Instruction-tuned models have a chat template; base models go on with a transcript."),
    )
    is_active = models.BooleanField(default=True)
    unavailable_reason = models.CharField(
        max_length=300, blank=True, default="Not prepared yet: run manage.py prepare_models."
    )
    position = models.PositiveSmallIntegerField(default=0)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = CatalogueModelQuerySet.as_manager()

    class Meta:
        verbose_name = _("model")
        verbose_name_plural = _("models")
        constraints = [
            models.CheckConstraint(
                name="inference_model_answer_fits_the_context",
                condition=Q(max_completion_tokens__gt=0, max_completion_tokens__lt=models.F("context_tokens")),
            ),
            models.CheckConstraint(
                name="inference_model_prompt_format_is_known",
                condition=Q(prompt_format__in=[*OF_MODELS]),
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def is_available(self) -> bool:
        """Whether customers may request answers from it now."""
        return self.is_active and not self.unavailable_reason

    @property
    def queue(self) -> str:
        return queue_of(self.key)


class GenerationState(models.TextChoices):
    """Queued, running, then exactly one of the others."""

    QUEUED = "queued", _("queued")
    RUNNING = "running", _("running")
    COMPLETED = "completed", _("completed")
    STOPPED = "stopped", _("stopped")
    CANCELLED = "cancelled", _("cancelled before it began")
    FAILED = "failed", _("interrupted")


LIVE_STATES = (GenerationState.QUEUED, GenerationState.RUNNING)

PROGRAM_KEY = "api:"  # begins the idempotency keys of answers that API clients requested, and of no others


class GenerationQuerySet(models.QuerySet["Generation"]):
    """Queries for generations by their state, and the conditional update that hands one back to the queue."""

    def for_user(self, user: Any) -> "GenerationQuerySet":
        return self.filter(user=user)

    def live(self) -> "GenerationQuerySet":
        """Not ended yet."""
        return self.filter(state__in=LIVE_STATES)

    def silent(self) -> "GenerationQuerySet":
        """Running, but without a heartbeat of their worker for WORKER_SILENT_SECONDS (`heartbeats`)."""
        return self.filter(heartbeats.Silent("heartbeat_at"), state=GenerationState.RUNNING)

    def overdue(self) -> "GenerationQuerySet":
        """Queued for too long. A follower has more time: its leader may wait as long, and is then generated."""
        limit = Now() - timedelta(seconds=settings.QUEUE_WAIT_SECONDS)
        followers_limit = limit - timedelta(seconds=settings.GENERATION_SECONDS)
        queued = self.filter(state=GenerationState.QUEUED)
        return queued.filter(Q(follows=None, created_at__lt=limit) | Q(created_at__lt=followers_limit))

    def claimable(self) -> "GenerationQuerySet":
        """Queued rows that a worker may take: all but followers, which wait for their leader (`single_flight`)."""
        return self.filter(state=GenerationState.QUEUED, follows=None)

    def leading(self, cache_key: str) -> "GenerationQuerySet":
        """The row that is queued or running for a key of the answer cache and follows no other: one at most."""
        return self.live().filter(cache_key=cache_key, follows=None)

    def followers(self) -> "GenerationQuerySet":
        """The rows that wait for an identical request, their leader, instead of being generated."""
        return self.filter(state=GenerationState.QUEUED, follows__isnull=False)

    def waiting_for(self, leader_id: uuid.UUID) -> "GenerationQuerySet":
        """The followers of one leader, oldest first."""
        return self.followers().filter(follows=leader_id).order_by("created_at", "pk")

    def unclaimed(self, model_key: str) -> "GenerationQuerySet":
        """Queued rows of this model that no worker has taken for QUEUE_LOOK_SECONDS: their ticket may be lost."""
        limit = Now() - timedelta(seconds=settings.QUEUE_LOOK_SECONDS)
        return self.claimable().filter(model_id=model_key, enqueued_at__lt=limit)

    def hand_back(self, generation_id: uuid.UUID, state: GenerationState) -> bool:
        """Move one row from `state` back to queued, as if no worker had taken it.

        Returns False if the row is not in `state` any more, or a stop was requested. Only the worker that claimed a row
        may hand it back from running.
        """
        rows = self.filter(pk=generation_id, state=state, stop_requested_at=None)
        return rows.update(state=GenerationState.QUEUED, started_at=None, heartbeat_at=None, enqueued_at=Now()) == 1


class Generation(models.Model):
    """One paid answer, from the request to its end. Its hold has its prices."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    # Every index is written three times for an answer. These two keys have none: indexes below begin with them.
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="generations", db_index=False
    )
    model = models.ForeignKey(CatalogueModel, on_delete=models.PROTECT, related_name="generations", db_index=False)
    hold = models.OneToOneField("billing.Hold", on_delete=models.PROTECT, related_name="generation")
    idempotency_key = models.CharField(max_length=100)
    inputs_hash = models.CharField(max_length=64)
    end_user = models.CharField(max_length=200, blank=True, help_text=_("What the API client calls its own user."))
    client_attempt = models.PositiveSmallIntegerField(
        null=True,
        blank=True,
        help_text=_("The last attempt of an official OpenAI client that got this answer; empty for all others."),
    )
    state = models.CharField(max_length=10, choices=GenerationState.choices, default=GenerationState.QUEUED)
    error = models.CharField(max_length=300, blank=True)

    # The tokens of the prompt that were counted are also those that run. They are emptied when the generation ends.
    prompt_format = models.CharField(max_length=20, choices=PromptFormat.choices, blank=True, default="", db_default="")
    prompt_token_ids = TokenIds(default=list)
    prompt_tokens = models.PositiveIntegerField()
    max_completion_tokens = models.PositiveIntegerField()
    requested_completion_tokens = models.PositiveIntegerField()
    temperature = models.FloatField()
    top_p = models.FloatField()
    top_k = models.PositiveIntegerField()
    seed = models.BigIntegerField()
    min_p = models.FloatField(default=0.0, db_default=0.0)
    repetition_penalty = models.FloatField(default=1.0, db_default=1.0)
    frequency_penalty = models.FloatField(default=0.0, db_default=0.0)
    presence_penalty = models.FloatField(default=0.0, db_default=0.0)
    stop = ArrayField(models.CharField(max_length=200), default=list, blank=True)
    top_logprobs = models.PositiveSmallIntegerField(
        null=True, blank=True, help_text=_("How many of the likeliest tokens are named; empty: no log probabilities.")
    )

    # `cache_key` is the same for identical deterministic requests, and empty for all others. `follows` is the id of the
    # answer that this one waits for while it is queued, or has repeated when it completed. It is no foreign key: the
    # check of one would wait for the row of an answer that is being settled, which may itself wait for our wallet.
    cache_key = models.CharField(max_length=64, blank=True, default="", editable=False)
    follows = models.UUIDField(null=True, blank=True, editable=False)

    text = models.TextField(blank=True)
    completion_tokens = models.PositiveIntegerField(default=0)
    finish_reason = models.CharField(max_length=10, blank=True)

    created_at = models.DateTimeField(auto_now_add=True)
    enqueued_at = models.DateTimeField(default=timezone.now)
    started_at = models.DateTimeField(null=True, blank=True)
    heartbeat_at = models.DateTimeField(null=True, blank=True)
    stop_requested_at = models.DateTimeField(null=True, blank=True)
    first_token_at = models.DateTimeField(null=True, blank=True, editable=False)  # by the clock of `started_at`
    last_token_at = models.DateTimeField(null=True, blank=True, editable=False)
    ended_at = models.DateTimeField(null=True, blank=True)

    logprobs: list[Any] | None = None  # those of AnswerLogprobs, once they were read; not stored here
    is_repeated = False  # whether an earlier request with the same Idempotency-Key made it; not stored
    token_usage: Usage | None = None  # the caller's token limit for this minute, and what is left of it; not stored

    objects = GenerationQuerySet.as_manager()

    class Meta:
        verbose_name = _("generation")
        verbose_name_plural = _("generations")
        permissions = [("release_generation", _("Can give up answers that do not end"))]
        indexes = [
            models.Index(
                name="inference_generation_live",
                fields=["model", "state", "created_at"],
                condition=Q(state__in=LIVE_STATES),
            ),
            models.Index(name="inference_generation_of_user", fields=["user", "-created_at"]),
            models.Index(name="inference_gen_live_of_user", fields=["user"], condition=Q(state__in=LIVE_STATES)),
            models.Index(
                name="inference_gen_of_a_client",
                fields=["user", "inputs_hash", "-created_at"],
                condition=Q(client_attempt__isnull=False),
            ),
            models.Index(
                name="inference_gen_of_a_key", fields=["cache_key", "ended_at"], condition=Q(cache_key__gt="")
            ),
            models.Index(
                name="inference_gen_waiting_for",
                fields=["follows"],
                condition=Q(state=GenerationState.QUEUED, follows__isnull=False),
            ),
            BrinIndex(name="inference_generation_by_time", fields=["created_at"], autosummarize=True),
            models.Index(name="inference_unpaid", fields=["ended_at"], condition=Q(state__in=["cancelled", "failed"])),
        ]
        constraints = [
            models.UniqueConstraint(
                name="inference_generation_one_an_idempotency_key", fields=["user", "idempotency_key"]
            ),
            models.UniqueConstraint(
                name="inference_generation_one_leads_a_key",
                fields=["cache_key"],
                condition=Q(cache_key__gt="", follows__isnull=True, state__in=LIVE_STATES),
            ),
            models.CheckConstraint(
                name="inference_generation_a_follower_never_runs",
                condition=Q(follows__isnull=True) | Q(cache_key__gt="") & ~Q(state=GenerationState.RUNNING),
            ),
            models.CheckConstraint(
                name="inference_generation_tokens_within_limit",
                condition=Q(completion_tokens__lte=models.F("max_completion_tokens")),
            ),
            models.CheckConstraint(
                name="inference_generation_sampling_within_bounds",
                condition=Q(
                    temperature__gte=0,
                    temperature__lte=2,
                    top_p__gt=0,
                    top_p__lte=1,
                    top_k__gte=1,
                    top_k__lte=MAX_TOP_K,
                    min_p__gte=0,
                    min_p__lt=1,
                    repetition_penalty__gte=1,
                    repetition_penalty__lte=MAX_REPETITION_PENALTY,
                ),
            ),
            models.CheckConstraint(
                name="inference_generation_penalties_within_bounds",
                condition=Q(
                    frequency_penalty__gte=-MAX_TOKEN_PENALTY,
                    frequency_penalty__lte=MAX_TOKEN_PENALTY,
                    presence_penalty__gte=-MAX_TOKEN_PENALTY,
                    presence_penalty__lte=MAX_TOKEN_PENALTY,
                ),
            ),
            models.CheckConstraint(
                name="inference_generation_top_logprobs_within_bounds",
                condition=Q(top_logprobs__isnull=True) | Q(top_logprobs__lte=MAX_TOP_LOGPROBS),
            ),
            models.CheckConstraint(
                name="inference_generation_ended_unless_live",
                condition=Q(state__in=LIVE_STATES, ended_at__isnull=True)
                | ~Q(state__in=LIVE_STATES) & Q(ended_at__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"generation {self.pk}"

    @property
    def is_live(self) -> bool:
        """Queued or running."""
        return self.state in LIVE_STATES

    @property
    def is_for_a_program(self) -> bool:
        """Whether an API client requested it: then there is no chat message that keeps its text."""
        return self.idempotency_key.startswith(PROGRAM_KEY)

    @property
    def is_limited_by_balance(self) -> bool:
        """Whether the length limit comes from the wallet's balance, not from the request."""
        return self.max_completion_tokens < self.requested_completion_tokens

    @property
    def is_from_cache(self) -> bool:
        """Whether it repeats an answer that was generated before, at the cache price."""
        return self.state == GenerationState.COMPLETED and self.follows is not None


class AnswerLogprobs(models.Model):
    """The log probabilities of an answer that was asked for with them (`inference.generations.logprobs`).

    They are much larger than the answer and rarely asked for (docs/adr/0038); they contain it, and are erased with it.
    """

    generation = models.OneToOneField(
        Generation, on_delete=models.CASCADE, primary_key=True, related_name="kept_logprobs"
    )
    tokens = models.JSONField()

    class Meta:
        verbose_name_plural = "log probabilities of answers"

    def __str__(self) -> str:
        return f"log probabilities of generation {self.generation_id}"


class WebProcess(models.Model):
    """A web process that has answers to hand over to API clients. While it has some, it writes heartbeats."""

    id = models.UUIDField(primary_key=True, editable=False)
    heartbeat_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return f"web process {self.pk}"


class Delivery(models.Model):
    """An answer that a web process must still hand over to a client that cannot request it again (`deliveries`)."""

    # No foreign keys: their checks would lock rows that every answer changes. Without its process it counts as lost.
    generation = models.OneToOneField(Generation, on_delete=models.CASCADE, primary_key=True, db_constraint=False)
    process_id = models.UUIDField(editable=False)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        verbose_name_plural = "deliveries"

    def __str__(self) -> str:
        return f"delivery of generation {self.generation_id}"


class DatabaseWatch(models.Model):
    """One row: when a sweep last reached the database, and since when without a gap (`heartbeats`)."""

    id = models.SmallAutoField(primary_key=True)
    seen_at = models.DateTimeField()
    watched_since = models.DateTimeField()

    class Meta:
        constraints = [models.CheckConstraint(name="inference_databasewatch_one_row", condition=Q(pk=1))]

    def __str__(self) -> str:
        return f"watched since {self.watched_since}"
