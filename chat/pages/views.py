"""The chat pages. A view scopes by user, validates, makes one call, and renders the page or its fragment."""

from functools import partial
from uuid import UUID

from asgiref.sync import sync_to_async
from django.contrib.auth.decorators import login_required
from django.db import connection
from django.http import Http404, HttpResponse, StreamingHttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST, require_safe

from accounts.callers.page_limits import answer_too_often
from accounts.callers.requests import Request
from chat import messages
from chat.branches import MessageGone
from chat.estimates import estimate_message
from chat.models import Conversation, Message
from chat.pages.forms import MessageForm
from chat.pages.public import front
from chat.pages.showing import (
    FAILURES,
    number_of,
    open_page_of,
    own_conversation,
    refuse,
    refuse_for,
    render_done,
    show_branch,
    show_earlier,
    show_exchange,
    show_page,
)
from chat.pages.streaming import stream_answer
from chat.settings import settings_of
from core.async_queries import in_thread
from core.rest.throttles import RateLimited
from inference.catalogue import ModelUnavailable
from inference.generations.endings import stop_generation
from inference.generations.estimates import Estimate
from inference.prompting.prompts import InvalidPrompt
from inference.relay.open_streams import Slot, keep_slot, take_slot


@require_safe
def home(request: Request) -> HttpResponse:
    """The page of a new chat; for strangers the landing page."""
    return show_page(request) if request.user.is_authenticated else front.landing(request)


@require_safe
@login_required
def conversation(request: Request, conversation_id: UUID) -> HttpResponse:
    """The page of one conversation, or its turns before a message. An answer that is being written streams on."""
    talk = get_object_or_404(Conversation.objects.for_user(request.user), pk=conversation_id)
    before = number_of(request.GET.get("before", ""))
    if request.htmx and before is not None:
        return show_earlier(request, talk, before)
    return show_page(request, talk)


@require_POST
@login_required
def send(request: Request, conversation_id: UUID | None = None) -> HttpResponse:
    """Add a prompt and stream its answer."""
    talk = own_conversation(request, conversation_id)
    form = MessageForm(request.POST)
    if not form.is_valid():
        return refuse(request, talk, form.first_error(), 422)
    try:
        settings = form.settings() if form.has_settings else settings_of(talk)
        exchange = messages.send_message(
            user=request.user,
            conversation=talk,
            model=form.cleaned_data["model"],
            text=form.cleaned_data["text"],
            parameters=settings.parameters,
            settings=settings,
            idempotency_key=str(form.cleaned_data["idempotency_key"]),
            place=form.place,
        )
    except tuple(FAILURES) as error:
        return refuse_for(request, talk, error)
    if talk is None:
        return open_page_of(request, exchange.conversation)
    if form.cleaned_data["in_place_of"] is not None:
        return show_branch(request, exchange.conversation, at=exchange.answer)
    return show_exchange(request, exchange, form.cleaned_data["seen"])


@require_POST
@login_required
def estimate(request: Request, conversation_id: UUID | None = None) -> HttpResponse:
    """What the draft would cost; no figure if the draft cannot be sent."""
    talk = own_conversation(request, conversation_id)
    return render(request, "chat/_estimate.html", {"estimate": _estimate(request, talk, MessageForm(request.POST))})


def _estimate(request: Request, talk: Conversation | None, form: MessageForm) -> Estimate | None:
    if not form.is_valid():
        return None
    try:
        return estimate_message(
            user=request.user,
            conversation=talk,
            model=form.cleaned_data["model"],
            text=form.cleaned_data["text"],
            place=form.place,
            settings=form.settings() if form.has_settings else settings_of(talk),
        )
    except (InvalidPrompt, ModelUnavailable, MessageGone):
        return None


@require_POST
@login_required
def stop(request: Request, generation_id: UUID) -> HttpResponse:
    """Stop an answer. The page is told through the answer's event stream."""
    own = Message.objects.for_user(request.user).select_related("generation", "conversation")
    answer = own.filter(generation=generation_id).order_by("pk").first()
    if answer is None or answer.generation is None:
        raise Http404
    stop_generation(generation=answer.generation)
    return HttpResponse(status=204) if request.htmx else redirect(answer.conversation)


@require_safe
@login_required
async def events(request: Request, generation_id: UUID) -> HttpResponse | StreamingHttpResponse:
    """The answer as server-sent events; see `chat.pages.streaming`."""
    answer_id = await sync_to_async(_answer_id)(request, generation_id)
    if answer_id is None:
        return HttpResponse(status=404)
    try:
        slot = await sync_to_async(_take_slot)(request)
    except RateLimited as refused:
        return await in_thread(partial(answer_too_often, request, int(refused.wait)))
    # A browser that reconnects by itself sends the last event's id as a header; a page that was hidden, in the URL.
    last_event_id = request.headers.get("Last-Event-ID") or request.GET.get("after", "")
    render_done, language = partial(_render_done, request, answer_id), request.LANGUAGE_CODE
    response = StreamingHttpResponse(
        keep_slot(slot, stream_answer(generation_id, last_event_id, render_done, language=language)),
        content_type="text/event-stream",
    )
    response["Cache-Control"] = "no-store"
    response["X-Accel-Buffering"] = "no"  # nginx must not collect the events
    return response


def _answer_id(request: Request, generation_id: UUID) -> int | None:
    """The id of the message of this user's generation, or None.

    It returns the database connection, because the stream may last minutes.
    """
    try:
        answers = Message.objects.for_user(request.user).filter(generation=generation_id)
        return answers.order_by("pk").values_list("pk", flat=True).first()
    finally:
        connection.close()


def _take_slot(request: Request) -> Slot | None:
    """Take a slot among this user's open streams; a HEAD request needs none. Raises RateLimited."""
    return take_slot(request.user) if request.method == "GET" else None


def _render_done(request: Request, answer_id: int) -> str:
    return render_done(request, Message.objects.select_related("conversation").get(pk=answer_id))
