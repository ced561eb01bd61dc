"""The chat pages. A view scopes by user, validates, makes one call, and renders the page or its fragment."""

from contextlib import suppress
from dataclasses import asdict
from functools import partial
from typing import Any
from uuid import UUID, uuid4

from asgiref.sync import sync_to_async
from django.conf import settings as site
from django.contrib.auth.decorators import login_required
from django.db import connection
from django.db.models import QuerySet
from django.http import Http404, HttpResponse, StreamingHttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.template.loader import render_to_string
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST, require_safe
from django_htmx.http import HttpResponseClientRedirect, reswap, retarget

from accounts.callers.page_limits import answer_too_often
from accounts.callers.requests import Request
from billing.ledger import CreditsOwed, InsufficientCredits, LedgerError, MonthlyCapReached, NoPrice
from billing.ledger.charges import refunded_of
from billing.ledger.prices import current_price_tags
from billing.templatetags.money import format_credits
from chat import messages
from chat.models import MOST_SEARCHED, Conversation, Message, Role
from chat.pages import front
from chat.pages.forms import MessageForm, RetryForm, SettingsForm
from chat.pages.streaming import stream_answer
from chat.pages.tries import TRIES
from core.async_queries import in_thread
from core.rest.throttles import RateLimited
from inference.catalogue import NOT_OFFERED, ModelUnavailable
from inference.generations.endings import stop_generation
from inference.generations.estimates import Estimate
from inference.generations.requesting import IdempotencyConflict, QueueUnavailable, TooManyAnswers
from inference.models import CatalogueModel, Generation
from inference.prompting.prompts import InvalidPrompt, sampling_defaults
from inference.prompting.showable import showable
from inference.relay.open_streams import Slot, keep_slot, take_slot

SIDEBAR_CONVERSATIONS = 100

# The errors of a send, with their HTTP status. Each error's message tells what to do.
FAILURES: dict[type[Exception], int] = {
    InvalidPrompt: 422,
    IdempotencyConflict: 409,
    messages.AnswerInProgress: 409,
    messages.NotTheLastAnswer: 409,
    InsufficientCredits: 402,
    CreditsOwed: 402,
    MonthlyCapReached: 402,
    LedgerError: 409,
    ModelUnavailable: 503,
    QueueUnavailable: 503,
    TooManyAnswers: 429,
}


@require_safe
def home(request: Request) -> HttpResponse:
    """The page of a new chat; for strangers the landing page."""
    return _page(request) if request.user.is_authenticated else front.landing(request)


@require_safe
@login_required
def conversation(request: Request, conversation_id: UUID) -> HttpResponse:
    """The page of one conversation. An answer that is being written continues to stream."""
    return _page(request, _own_conversation(request, conversation_id))


@require_POST
@login_required
def send(request: Request, conversation_id: UUID | None = None) -> HttpResponse:
    """Add a prompt and stream its answer."""
    talk = _own_conversation(request, conversation_id)
    form = MessageForm(request.POST)
    if not form.is_valid():
        return _refuse(request, talk, form.first_error(), 422)
    try:
        settings = form.settings()
        exchange = messages.send_message(
            user=request.user,
            conversation=talk,
            model=form.cleaned_data["model"],
            text=form.cleaned_data["text"],
            parameters=settings.parameters,
            settings=settings,
            idempotency_key=str(form.cleaned_data["idempotency_key"]),
        )
    except tuple(FAILURES) as error:
        return _refuse_for(request, talk, error)
    return _show(request, exchange, is_new=talk is None)


@require_POST
@login_required
def estimate(request: Request, conversation_id: UUID | None = None) -> HttpResponse:
    """What the draft would cost; no figure if the draft cannot be sent."""
    talk = _own_conversation(request, conversation_id)
    return render(request, "chat/_estimate.html", {"estimate": _estimate(request, talk, MessageForm(request.POST))})


def _estimate(request: Request, talk: Conversation | None, form: MessageForm) -> Estimate | None:
    if not form.is_valid():
        return None
    try:
        return messages.estimate_message(
            user=request.user,
            conversation=talk,
            model=form.cleaned_data["model"],
            text=form.cleaned_data["text"],
            settings=form.settings(),
        )
    except (InvalidPrompt, ModelUnavailable):
        return None


@require_POST
@login_required
def retry(request: Request, message_id: int) -> HttpResponse:
    """Request an interrupted answer again."""
    answers = Message.objects.filter(conversation__user=request.user, role=Role.ASSISTANT)
    answer = get_object_or_404(answers.select_related("generation__model", "conversation"), pk=message_id)
    form = RetryForm(request.POST)
    if not form.is_valid():
        return _refuse(request, answer.conversation, _("This form is broken. Reload the page."), 422)
    try:
        exchange = messages.retry_answer(
            user=request.user, answer=answer, idempotency_key=str(form.cleaned_data["idempotency_key"])
        )
    except tuple(FAILURES) as error:
        return _refuse_for(request, answer.conversation, error)
    return _show(request, exchange, is_new=False)


@require_POST
@login_required
def stop(request: Request, generation_id: UUID) -> HttpResponse:
    """Stop an answer. The page is told through the answer's event stream."""
    own = Message.objects.filter(conversation__user=request.user).select_related("generation", "conversation")
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


def _own_conversation(request: Request, conversation_id: UUID | None) -> Conversation | None:
    """This user's conversation; None for a new chat. Raises Http404 for another user's."""
    if conversation_id is None:
        return None
    return get_object_or_404(Conversation.objects.for_user(request.user), pk=conversation_id)


def _answer_id(request: Request, generation_id: UUID) -> int | None:
    """The id of the message of this user's generation, or None.

    It returns the database connection, because the stream may last minutes.
    """
    try:
        answers = Message.objects.filter(generation__user=request.user, generation=generation_id)
        return answers.order_by("pk").values_list("pk", flat=True).first()
    finally:
        connection.close()


def _take_slot(request: Request) -> Slot | None:
    """Take a slot among this user's open streams; a HEAD request needs none. Raises RateLimited."""
    return take_slot(request.user) if request.method == "GET" else None


def _render_done(request: Request, answer_id: int) -> str:
    answer = Message.objects.select_related("generation__model", "generation__hold", "conversation").get(pk=answer_id)
    return render_to_string(
        "chat/_done.html", _talk_context(request, answer.conversation) | {"message": answer}, request
    )


def _show(request: Request, exchange: messages.Exchange, *, is_new: bool) -> HttpResponse:
    """Answer with the new turns as a fragment, or redirect to the conversation's page."""
    if is_new or not request.htmx:
        url = exchange.conversation.get_absolute_url()
        return HttpResponseClientRedirect(url) if request.htmx else redirect(url)
    turns = [message for message in (exchange.prompt, exchange.answer) if message is not None]
    context = _talk_context(request, exchange.conversation) | {"turns": turns}
    return render(request, "chat/_exchange.html", context)


def _refuse_for(request: Request, talk: Conversation | None, error: Exception) -> HttpResponse:
    """Show why a send was refused.

    If an answer is being written that the page does not know of, the page also gets that, and can stop it.
    """
    is_capped = isinstance(error, MonthlyCapReached)
    response = _refuse(request, talk, _explain(error), _status_of(error), is_capped)
    if request.htmx and talk is not None and isinstance(error, messages.AnswerInProgress):
        context = _talk_context(request, talk) | {"turns": _turns(talk)}
        response.write(render_to_string("chat/_caught_up.html", context, request))
    return response


def _refuse(
    request: Request, talk: Conversation | None, error: str, status: int, is_capped: bool = False
) -> HttpResponse:
    """Show an error beside the composer and keep the draft. Nothing was changed."""
    if request.htmx:
        context = {"error": error, "status": status, "is_capped": is_capped}
        response = render(request, "chat/_error.html", context, status=status)
        return reswap(retarget(response, "#compose-error"), "innerHTML")
    return _page(request, talk, draft=request.POST.get("text", ""), error=error, status=status, is_capped=is_capped)


def _page(
    request: Request,
    talk: Conversation | None = None,
    draft: str = "",
    error: str = "",
    status: int = 200,
    is_capped: bool = False,
) -> HttpResponse:
    turns = [] if talk is None else _turns(talk)
    conversations = Conversation.objects.for_user(request.user)
    search = showable(request.GET.get("q", "")).strip()
    most_searched = 0
    if search:
        searchable = conversations.searchable()
        most_searched = 0 if searchable is conversations else MOST_SEARCHED
        conversations = searchable.matching(search)
    talk_context = _talk_context(request, talk)
    context = talk_context | {
        "turns": turns,
        "knobs": _knobs(request, talk, talk_context["chosen_model"]),
        "tries": [] if talk else TRIES,
        "conversations": conversations[:SIDEBAR_CONVERSATIONS],
        "search": search,
        "most_searched": most_searched,
        "draft": draft,
        "error": error,
        "status": status,
        "is_capped": is_capped,
    }
    return render(request, "chat/conversation.html", context, status=status)


def _knobs(request: Request, talk: Conversation | None, model: CatalogueModel | None) -> SettingsForm:
    """The settings of the conversation, or those that were sent with a message that was refused."""
    if request.method == "POST":
        knobs = SettingsForm(request.POST)
    elif talk is None:
        knobs = SettingsForm()
    else:
        knobs = SettingsForm(initial={"system_prompt": talk.system_prompt, **talk.parameters})
    if model is not None:
        with suppress(ModelUnavailable):
            knobs.show_defaults(asdict(sampling_defaults(model)) | {"min_p": 0, "max_tokens": site.DEFAULT_MAX_TOKENS})
    return knobs


def _turns(talk: Conversation) -> QuerySet[Message]:
    """All turns, in one query; each answer has its charge and the refunded amount in microcredits."""
    turns = talk.messages.select_related("generation__model", "generation__hold")
    return turns.annotate(refunded_microcredits=refunded_of("generation__hold"))


def _talk_context(request: Request, talk: Conversation | None) -> dict[str, Any]:
    """What the composer and the display of credits need, in four queries: models, prices, live answer, wallet."""
    models = list(CatalogueModel.objects.offered())
    tags = current_price_tags([model.key for model in models])
    chosen = next((model for model in models if (model.key == talk.model_id if talk else model.is_available)), None)
    live = Generation.objects.live().filter(message__conversation=talk).first() if talk else None
    request.user.wallet.refresh_from_db()
    return {
        "conversation": talk,
        "models": [(model, tags[model.key]) for model in models if model.key in tags],
        "not_offered": NOT_OFFERED,
        "chosen_model": chosen,
        "live": live,
        "wallet": request.user.wallet,
        "new_key": uuid4(),
    }


def _status_of(error: Exception) -> int:
    return next(status for kind, status in FAILURES.items() if isinstance(error, kind))


def _explain(error: Exception) -> str:
    if isinstance(error, InsufficientCredits):
        return _("You have {available} credits free, and this needs at least {needed}. Top up, or shorten it.").format(
            available=format_credits(error.available_microcredits), needed=format_credits(error.needed_microcredits)
        )
    if isinstance(error, MonthlyCapReached):
        return _(
            "Your monthly cap of {cap} credits leaves {room}, and this needs at least {needed}. "
            "Answers start again next month, or when you raise it."
        ).format(
            cap=format_credits(error.cap_microcredits),
            room=format_credits(error.room_microcredits),
            needed=format_credits(error.needed_microcredits),
        )
    if isinstance(error, CreditsOwed):
        return _("You owe {owed} credits for a payment that was taken back. Top up to go on.").format(
            owed=format_credits(error.owed_microcredits)
        )
    if isinstance(error, ModelUnavailable | NoPrice):
        return str(NOT_OFFERED)
    if isinstance(error, LedgerError):
        return _("This could not be paid for: {reason}. Nothing was charged.").format(reason=error)
    return str(error)
