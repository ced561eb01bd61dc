"""Bodies and answers of inference's part of the API."""

import dataclasses
from typing import Any

from django.conf import settings
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from billing.ledger.prices import PriceTag
from core.rest.fields import ApiInput, Choice, Credits, Integer, Text
from inference.answer_cache import CacheUse
from inference.catalogue import NOT_OFFERED
from inference.engine.base import MAX_REPETITION_PENALTY, MAX_TOKEN_PENALTY, MAX_TOP_K
from inference.generations.parameters import Parameters
from inference.models import CatalogueModel, Generation, GenerationState, PromptFormat
from inference.openai.messages import MAX_MESSAGES
from inference.openai.requests import INT32, INT64, MAX_STOP_CHARACTERS, MAX_STOP_STRINGS
from inference.prompting.prompts import Prompt, RawText, conversation_of
from inference.prompting.showable import showable
from inference.weights.model_cards import describe_sampling

ROLES = ("system", "user", "assistant")
MAX_MIN_P = 0.999999  # below 1: the documentation has no word for a limit that is excluded


class SamplingDefaultsOut(serializers.Serializer[Any]):
    """How the next token is drawn unless a request says otherwise."""

    temperature = serializers.FloatField()
    top_p = serializers.FloatField()
    top_k = serializers.IntegerField()
    min_p = serializers.FloatField()
    repetition_penalty = serializers.FloatField()


class OfferedModelOut(serializers.ModelSerializer[CatalogueModel]):
    """A model and what it costs now."""

    prompt_format = serializers.ChoiceField(
        [PromptFormat.CHAT_TEMPLATE.value, PromptFormat.TRANSCRIPT.value],
        read_only=True,
        help_text="How a conversation is written for it: with its own chat template, or as a transcript that goes on.",
    )
    default_parameters = serializers.SerializerMethodField(help_text="Null while it is not available.")

    unavailable_reason = serializers.SerializerMethodField(help_text="Empty while it is available.")
    is_available = serializers.BooleanField(read_only=True, help_text="Whether it can be asked now.")
    prompt_microcredits_per_token = serializers.SerializerMethodField(help_text="Null without a price.")
    completion_microcredits_per_token = serializers.SerializerMethodField(help_text="Null without a price.")

    class Meta:
        model = CatalogueModel
        fields = (
            "key",
            "name",
            "description",
            "context_tokens",
            "max_completion_tokens",
            "prompt_format",
            "default_parameters",
            "is_available",
            "unavailable_reason",
            "prompt_microcredits_per_token",
            "completion_microcredits_per_token",
        )
        read_only_fields = fields

    @extend_schema_field(SamplingDefaultsOut(allow_null=True))
    def get_default_parameters(self, model: CatalogueModel) -> dict[str, Any] | None:
        """From the model's own files."""
        return describe_sampling(model) if model.is_available else None

    def get_unavailable_reason(self, model: CatalogueModel) -> str:
        """In customers' words; operators read the reason in the admin and under /api/v1/ops/models."""
        return "" if model.is_available else str(NOT_OFFERED)

    def get_prompt_microcredits_per_token(self, model: CatalogueModel) -> int | None:
        """From the context's `prices`."""
        tag: PriceTag | None = self.context["prices"].get(model.key)
        return None if tag is None else tag.prompt_microcredits_per_token

    def get_completion_microcredits_per_token(self, model: CatalogueModel) -> int | None:
        """From the context's `prices`."""
        tag: PriceTag | None = self.context["prices"].get(model.key)
        return None if tag is None else tag.completion_microcredits_per_token


class Words(Text):
    """What somebody wrote, blanks kept; without what cannot be shown."""

    def __init__(self, **options: Any) -> None:
        super().__init__(trim_whitespace=False, max_length=settings.PROMPT_MAX_CHARACTERS, **options)

    def to_internal_value(self, data: Any) -> str:
        """Strip what cannot be shown. Of that alone, the text is blank."""
        text = showable(super().to_internal_value(data))
        if not text and not self.allow_blank:
            self.fail("blank")
        return text


class Number(serializers.FloatField):
    """A JSON number."""

    def to_internal_value(self, data: Any) -> float:
        """Refuse strings and booleans."""
        if isinstance(data, bool) or not isinstance(data, int | float):
            self.fail("invalid")
        return super().to_internal_value(data)


class MessageIn(ApiInput):
    """One message of a conversation."""

    role = Choice([(role, role) for role in ROLES])
    content = Words(allow_blank=True)


class AskedModelIn(ApiInput):
    """Which model, and how much."""

    model = Text(max_length=64, help_text="A key of GET /api/v1/models.")
    max_tokens = Integer(required=False, allow_null=True, min_value=1, max_value=INT32)


class EstimateOfMessagesIn(AskedModelIn):
    """An answer to messages."""

    messages = serializers.ListField(child=MessageIn(), min_length=1, max_length=MAX_MESSAGES)


class EstimateOfTextIn(AskedModelIn):
    """A text that goes on from a prompt."""

    prompt = Words(help_text="Taken as it stands, without turns.")


class SamplingIn(ApiInput):
    """How the next token is drawn, and where the text ends."""

    temperature = Number(required=False, min_value=0, max_value=2)
    top_p = Number(required=False, min_value=0.000001, max_value=1)
    top_k = Integer(required=False, min_value=1, max_value=MAX_TOP_K)
    min_p = Number(
        required=False,
        min_value=0,
        max_value=MAX_MIN_P,
        help_text="Leave out what is less likely than this share of the likeliest token; 0 leaves out none.",
    )
    repetition_penalty = Number(
        required=False,
        min_value=1,
        max_value=MAX_REPETITION_PENALTY,
        help_text="Make the last 64 tokens less likely, the prompt's included; 1 leaves them as they are.",
    )
    frequency_penalty = Number(
        required=False,
        min_value=-MAX_TOKEN_PENALTY,
        max_value=MAX_TOKEN_PENALTY,
        help_text="Taken off the score of a token for each time that the answer has it; 0 takes nothing.",
    )
    presence_penalty = Number(
        required=False,
        min_value=-MAX_TOKEN_PENALTY,
        max_value=MAX_TOKEN_PENALTY,
        help_text="Taken off the score of a token once if the answer has it; 0 takes nothing.",
    )
    seed = Integer(required=False, allow_null=True, min_value=-INT64, max_value=INT64)
    stop = serializers.ListField(
        child=Text(trim_whitespace=False, max_length=MAX_STOP_CHARACTERS),
        required=False,
        max_length=MAX_STOP_STRINGS,
        help_text="The text ends before the first of these.",
    )


class AskingIn(SamplingIn):
    """How to write an answer, for whom, and whether it may be one that was generated before."""

    end_user = Text(required=False, allow_blank=True, max_length=200, help_text="What you call your own user.")
    cache = Choice(
        [(use.value, use.value) for use in CacheUse],
        required=False,
        help_text="Who shares the answer when temperature is 0 or a seed is given: you alone (`private`, unless you "
        "choose), everybody who asks exactly the same (`public`), or nobody (`off`).",
    )


class GenerationOfMessagesIn(EstimateOfMessagesIn, AskingIn):
    """An answer to messages, and how to write it."""


class GenerationOfTextIn(EstimateOfTextIn, AskingIn):
    """A text that goes on from a prompt, and how to write it."""


class GenerationOut(serializers.ModelSerializer[Generation]):
    """One answer."""

    model = serializers.CharField(source="model_id", read_only=True)
    state = serializers.ChoiceField(GenerationState.values, read_only=True)
    is_limited_by_balance = serializers.BooleanField(
        read_only=True, help_text="Whether what you can pay, not the request, set `max_completion_tokens`."
    )
    limited_by = serializers.CharField(
        source="hold.limited_by",
        read_only=True,
        help_text="What that was: balance, monthly_cap (yours) or key_cap (of the API key); empty for nothing.",
    )
    is_from_cache = serializers.BooleanField(
        read_only=True, help_text="Whether it repeats an answer that was generated before, at the cache price."
    )
    hold = serializers.UUIDField(source="hold_id", read_only=True)
    charged_microcredits = serializers.IntegerField(
        source="hold.charged_microcredits", read_only=True, allow_null=True, help_text="Null unless it cost something."
    )
    charged_credits = Credits("hold.charged_microcredits", allow_null=True)

    class Meta:
        model = Generation
        fields = (
            "id",
            "model",
            "state",
            "text",
            "error",
            "finish_reason",
            "prompt_tokens",
            "completion_tokens",
            "max_completion_tokens",
            "is_limited_by_balance",
            "limited_by",
            "temperature",
            "top_p",
            "top_k",
            "min_p",
            "repetition_penalty",
            "frequency_penalty",
            "presence_penalty",
            "seed",
            "stop",
            "end_user",
            "is_from_cache",
            "hold",
            "charged_microcredits",
            "charged_credits",
            "created_at",
            "started_at",
            "stop_requested_at",
            "ended_at",
        )
        read_only_fields = fields


class EventOut(serializers.Serializer[Any]):
    """One server-sent event."""

    event = serializers.ChoiceField(["status", "text", "done"])
    id = serializers.CharField(required=False, help_text="Of `text` events: the place in the answer.")
    data = serializers.CharField(help_text="JSON: what is waited for, what was added, or the whole generation.")  # type: ignore[assignment]  # the standard's name


class EstimateOut(serializers.Serializer[Any]):
    """What an answer may cost."""

    prompt_tokens = serializers.IntegerField()
    max_completion_tokens = serializers.IntegerField(help_text="The most it can have.")
    usual_microcredits = serializers.IntegerField(help_text="With an answer as long as your recent ones.")
    usual_credits = Credits("usual_microcredits")
    most_microcredits = serializers.IntegerField(help_text="At the very most: what would be held.")
    most_credits = Credits("most_microcredits")


def prompt_of(fields: dict[str, Any]) -> Prompt:
    """The prompt of a checked body. Raises InvalidPrompt."""
    if "prompt" in fields:
        return RawText(fields["prompt"])
    return conversation_of([(message["role"], message["content"]) for message in fields["messages"]])


def parameters_of(fields: dict[str, Any]) -> Parameters:
    """How to answer, from a checked body. Raises InvalidPrompt."""
    names = {field.name for field in dataclasses.fields(Parameters)} - {"stop"}
    given = {name: fields[name] for name in names if name in fields}
    return Parameters(**given, stop=tuple(fields.get("stop", ())))
