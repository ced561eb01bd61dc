"""Models, estimates and generations, for programs that want more than OpenAI's API gives."""

from typing import Any
from uuid import UUID

import django_filters
from django.db import connection
from django.db.models import QuerySet
from django.http import StreamingHttpResponse
from django.shortcuts import get_object_or_404
from drf_spectacular.utils import OpenApiParameter
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.callers.authentication import requires_scope
from accounts.callers.views import ApiList, ApiView
from accounts.models import ApiKey
from billing.ledger import NoPrice
from billing.ledger.prices import current_price_tags
from core.rest.filters import Since, Until
from core.rest.idempotency import read_idempotency_key
from core.rest.schema import IDEMPOTENCY_KEY, KEY_SCHEMA, either, operation
from inference.answer_cache import CacheUse
from inference.api import (
    errors,  # noqa: F401  names what services refuse
    examples,
)
from inference.api.events import stream_generation
from inference.api.serializers import (
    EstimateOfMessagesIn,
    EstimateOfTextIn,
    EstimateOut,
    EventOut,
    GenerationOfMessagesIn,
    GenerationOfTextIn,
    GenerationOut,
    OfferedModelOut,
    parameters_of,
    prompt_of,
)
from inference.generations.client_requests import Question, begin_answer
from inference.generations.endings import stop_generation
from inference.generations.estimates import estimate_answer
from inference.generations.parameters import Caller
from inference.generations.requesting import hash_inputs
from inference.models import CatalogueModel, Generation, GenerationState
from inference.openai.requests import INT64, MAX_USER_CHARACTERS
from inference.relay.open_streams import keep_slot, take_slot

CHAT = requires_scope("chat")
OPTIONAL_KEY = OpenApiParameter(
    IDEMPOTENCY_KEY.name,
    KEY_SCHEMA,
    OpenApiParameter.HEADER,
    description="With one, a retry gets the answer that the first request made and nothing more is charged.",
)
LAST_EVENT_ID = OpenApiParameter(
    "Last-Event-ID", str, OpenApiParameter.HEADER, description="The id of the last `text` event that was read."
)


class Models(ApiList):
    """The catalogue."""

    permission_classes = (CHAT,)
    serializer_class = OfferedModelOut
    ordering = "position"

    def rows(self) -> QuerySet[CatalogueModel]:
        """All models that are offered."""
        return CatalogueModel.objects.offered()

    def get_serializer_context(self) -> dict[str, Any]:
        keys = list(CatalogueModel.objects.offered().values_list("key", flat=True))
        return {**super().get_serializer_context(), "prices": current_price_tags(keys)}

    @operation(tag="Models", summary="List the models", answer=OfferedModelOut(many=True), example=examples.MODEL)
    def get(self, request: Request) -> Response:
        """What can be asked and what it costs now, and whether it is offered at the moment."""
        return self.list(request)


class Model(ApiView):
    """One model."""

    permission_classes = (CHAT,)

    @operation(tag="Models", summary="Look at a model", answer=OfferedModelOut, example=examples.MODEL)
    def get(self, _request: Request, key: str) -> Response:
        """One model and what it costs now."""
        model = find_model(key)
        return Response(OfferedModelOut(model, context={"prices": current_price_tags([model.key])}).data)


class Estimate(ApiView):
    """What an answer would cost."""

    permission_classes = (CHAT,)

    @operation(
        tag="Models",
        summary="Estimate an answer",
        answer=EstimateOut,
        example=examples.ESTIMATE,
        body=either("EstimateIn", EstimateOfMessagesIn, EstimateOfTextIn),
        body_example=examples.ESTIMATE_BODY,
        errors=(404, 422, 503),
    )
    def post(self, request: Request) -> Response:
        """Count the prompt with the model's own tokenizer and say what an answer would cost. Holds nothing."""
        fields = self.read_body(EstimateOfTextIn if has_raw_prompt(request) else EstimateOfMessagesIn)
        model = find_model(fields["model"])
        estimate = estimate_answer(
            user=self.caller, model=model, prompt=prompt_of(fields), max_tokens=fields.get("max_tokens")
        )
        if estimate is None:
            raise NoPrice(f"{model.key} has no price")
        return Response(EstimateOut(estimate).data)


class GenerationFilter(django_filters.FilterSet):  # type: ignore[misc]
    """By state, model, who asked, and time."""

    state = django_filters.ChoiceFilter(choices=GenerationState.choices)
    model = django_filters.CharFilter(field_name="model_id", max_length=64)
    key = django_filters.NumberFilter(
        field_name="hold__api_key",
        min_value=1,
        max_value=INT64,
        decimal_places=0,
        help_text="The id of the API key that asked.",
    )
    end_user = django_filters.CharFilter(max_length=MAX_USER_CHARACTERS, help_text="What you called your own user.")
    since = Since("created_at")
    until = Until("created_at")

    class Meta:
        model = Generation
        fields = ("state", "model", "key", "end_user")


class Generations(ApiList):
    """The caller's answers."""

    permission_classes = (CHAT,)
    serializer_class = GenerationOut
    filterset_class = GenerationFilter
    ordering = "-created_at"

    def rows(self) -> QuerySet[Generation]:
        """The caller's generations, requested on pages or by programs."""
        return Generation.objects.for_user(self.caller).select_related("hold")

    @operation(
        tag="Generations", summary="List my generations", answer=GenerationOut(many=True), example=examples.GENERATION
    )
    def get(self, request: Request) -> Response:
        """Every answer, the latest first, with what it cost."""
        return self.list(request)

    @operation(
        tag="Generations",
        summary="Ask for an answer",
        answer=GenerationOut,
        example=examples.QUEUED,
        body=either("GenerationIn", GenerationOfMessagesIn, GenerationOfTextIn),
        body_example=examples.GENERATION_BODY,
        status=201,
        errors=(402, 404, 409, 422, 503),
        parameters=[OPTIONAL_KEY],
    )
    def post(self, request: Request) -> Response:
        """Hold the worst case and queue the answer; follow it with `GET …/events`, or look at it again later. It goes
        on whether anybody follows it or not. With temperature 0 or a seed, an answer to the same request that was
        generated before is repeated at the cache price; `cache` says who shares it.
        """
        fields = self.read_body(GenerationOfTextIn if has_raw_prompt(request) else GenerationOfMessagesIn)
        question = Question(
            model=find_model(fields["model"]),
            prompt=prompt_of(fields),
            parameters=parameters_of(fields),
            inputs_hash=hash_inputs(request.path, sorted(fields.items())),
            idempotency_key=read_idempotency_key(request),
            caller=Caller(
                api_key=key_of(self),
                end_user=fields.get("end_user", ""),
                cache=CacheUse(fields.get("cache", CacheUse.PRIVATE)),
            ),
        )
        generation = begin_answer(user=self.caller, question=question)
        if generation.is_repeated:
            self.mark_replay()
        return Response(GenerationOut(generation).data, status=201)


class GenerationView(ApiView):
    """One of the caller's answers."""

    permission_classes = (CHAT,)

    @operation(tag="Generations", summary="Look at a generation", answer=GenerationOut, example=examples.GENERATION)
    def get(self, _request: Request, generation_id: UUID) -> Response:
        """One answer as it stands. Its text is there once it has ended."""
        return Response(GenerationOut(own_generation(self, generation_id)).data)


class Cancel(ApiView):
    """The end of an answer."""

    permission_classes = (CHAT,)

    @operation(tag="Generations", summary="Cancel a generation", answer=GenerationOut, example=examples.STOPPED)
    def post(self, _request: Request, generation_id: UUID) -> Response:
        """Stop an answer: before it began it costs nothing, later the prompt and the tokens produced until then. The
        state is final within a second. Cancelling again, or too late, changes nothing.
        """
        stop_generation(generation=own_generation(self, generation_id))
        return Response(GenerationOut(own_generation(self, generation_id)).data)


class Events(ApiView):
    """An answer as it grows."""

    permission_classes = (CHAT,)

    @operation(
        tag="Generations",
        summary="Follow a generation",
        answer=EventOut,
        example=examples.EVENT,
        media_type="text/event-stream",
        parameters=[LAST_EVENT_ID],
    )
    def get(self, request: Request, generation_id: UUID) -> StreamingHttpResponse:
        """Server-sent events: `status` while it waits, `text` as it grows, `done` with the whole generation. Come
        back with the last `id` in `Last-Event-ID` to go on where you were. Leaving changes nothing. A user may have a
        number of streams open at the same time (`MAX_OPEN_STREAMS_OF_USER`, 12 by default): one more is a 429, and
        the answer goes on.
        """
        generation = own_generation(self, generation_id)
        slot = take_slot(self.caller) if request.method == "GET" else None  # HEAD is no stream
        connection.close()  # the stream may last minutes
        return StreamingHttpResponse(
            keep_slot(slot, stream_generation(generation.pk, request.headers.get("Last-Event-ID", ""))),
            content_type="text/event-stream",
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},  # nginx passes it on as it comes
        )


def has_raw_prompt(request: Request) -> bool:
    """Whether the body has a raw prompt rather than messages."""
    return isinstance(request.data, dict) and "prompt" in request.data


def find_model(key: str) -> CatalogueModel:
    """The offered model with this key, or a 404."""
    return get_object_or_404(CatalogueModel.objects.offered(), key=key)


def key_of(view: ApiView) -> ApiKey | None:
    """The API key of the request; None with an access token."""
    return view.credential if isinstance(view.credential, ApiKey) else None


def own_generation(view: ApiView, generation_id: UUID) -> Generation:
    """The caller's generation with this id, or a 404."""
    own = Generation.objects.for_user(view.caller).select_related("hold")
    return get_object_or_404(own, pk=generation_id)
