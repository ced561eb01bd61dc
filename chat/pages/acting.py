"""What customers do with messages: write again, continue, edit, delete, mark, show another version.

Each form is a page of its own; htmx puts it under the message instead. What it will cost is said in it.
"""

from collections.abc import Callable
from functools import wraps

from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST

from accounts.callers.requests import Request
from chat import messages
from chat.branches import MessageGone, Place
from chat.estimates import estimate_continuation, estimate_message, estimate_version
from chat.models import Message, Rating, Role
from chat.pages.forms import AgainForm, EditForm, RatingForm
from chat.pages.showing import FAILURES, priced_models, refuse, refuse_for, show_branch, show_form
from chat.settings import settings_of
from chat.versions import delete_exchange, rate_answer, select_version
from inference.catalogue import ModelUnavailable
from inference.generations.estimates import Estimate
from inference.models import CatalogueModel
from inference.prompting.prompts import InvalidPrompt

View = Callable[[Request, int], HttpResponse]


def _say_what_is_gone(view: View) -> View:
    """Decorate a view of a message: htmx gets the reason, beside the composer, instead of a page under the message."""

    @wraps(view)
    def handle(request: Request, message_id: int) -> HttpResponse:
        try:
            return view(request, message_id)
        except Http404:
            if not request.htmx:
                raise
            return refuse(request, None, _("This message was deleted meanwhile. Reload the page."), 404)

    return handle


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
@_say_what_is_gone
def retry(request: Request, message_id: int) -> HttpResponse:
    """The form for another version of an answer, with its cost; or request it."""
    answer = _own_message(request, message_id, Role.ASSISTANT)
    form = AgainForm(request.POST if request.method == "POST" else request.GET)
    is_valid = form.is_valid()
    model = form.cleaned_data.get("model")
    if request.method != "POST":
        model = model or _model_of(answer)
        cost = _try_to_estimate(lambda: estimate_version(user=request.user, answer=answer, model=model))
        return show_form(request, "retry", answer, {"model": model, "estimate": cost, "models": priced_models()})
    if not is_valid:
        return refuse(request, answer.conversation, _("This form is broken. Reload the page."), 422)
    return _request_answer(
        request,
        answer,
        lambda: messages.retry_answer(
            user=request.user, answer=answer, model=model, idempotency_key=str(form.cleaned_data["idempotency_key"])
        ),
    )


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
@_say_what_is_gone
def continue_(request: Request, message_id: int) -> HttpResponse:
    """The form that continues an answer, with its cost; or continue it."""
    answer = _own_message(request, message_id, Role.ASSISTANT)
    if request.method != "POST":
        cost = _try_to_estimate(lambda: estimate_continuation(user=request.user, answer=answer))
        return show_form(request, "continue", answer, {"estimate": cost})
    form = AgainForm(request.POST)
    if not form.is_valid():
        return refuse(request, answer.conversation, _("This form is broken. Reload the page."), 422)
    return _request_answer(
        request,
        answer,
        lambda: messages.continue_answer(
            user=request.user, answer=answer, idempotency_key=str(form.cleaned_data["idempotency_key"])
        ),
    )


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
@_say_what_is_gone
def edit(request: Request, message_id: int) -> HttpResponse:
    """The form that edits a prompt, with its cost. It is sent as a message, in place of this prompt.

    Without JavaScript, POST shows it again with the cost of the text that was written meanwhile.
    """
    prompt = _own_message(request, message_id, Role.USER)
    talk = prompt.conversation
    form = EditForm(request.POST)
    is_changed = request.method == "POST" and form.is_valid()
    prompt.text = form.cleaned_data["text"] if is_changed else prompt.text
    model = form.cleaned_data["model"] if is_changed else talk.model
    place = Place(in_place_of=prompt.pk)
    cost = _try_to_estimate(
        lambda: estimate_message(
            user=request.user,
            conversation=talk,
            model=model,
            text=prompt.text,
            place=place,
            settings=settings_of(talk),
        )
    )
    return show_form(request, "edit", prompt, {"model": model, "estimate": cost, "models": priced_models()})


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
@_say_what_is_gone
def delete(request: Request, message_id: int) -> HttpResponse:
    """Ask whether a prompt and its answers are to be deleted; or delete them."""
    message = _own_message(request, message_id)
    if request.method != "POST":
        return show_form(request, "delete", message, {})
    try:
        talk = delete_exchange(message=message)
    except tuple(FAILURES) as error:
        return refuse_for(request, message.conversation, error)
    return show_branch(request, talk)


@require_POST
@login_required
@_say_what_is_gone
def select(request: Request, message_id: int) -> HttpResponse:
    """Show this version of a message."""
    message = _own_message(request, message_id)
    try:
        talk = select_version(message=message)
    except tuple(FAILURES) as error:
        return refuse_for(request, message.conversation, error)
    return show_branch(request, talk, at=message)


@require_POST
@login_required
@_say_what_is_gone
def rate(request: Request, message_id: int) -> HttpResponse:
    """Keep whether an answer was good or bad."""
    answer = _own_message(request, message_id, Role.ASSISTANT)
    form = RatingForm(request.POST)
    if not form.is_valid():
        return refuse(request, answer.conversation, _("This form is broken. Reload the page."), 422)
    rating = form.cleaned_data["rating"]
    rate_answer(answer=answer, rating=None if rating is None else Rating(rating))
    if not request.htmx:
        return show_branch(request, answer.conversation, at=answer)
    answer.rating = rating
    return render(request, "chat/_marks.html", {"message": answer})


def _own_message(request: Request, message_id: int, role: Role | None = None) -> Message:
    """This user's message. Raises Http404 for another user's, and for a message of the other role."""
    own = Message.objects.for_user(request.user).select_related("conversation__model")
    return get_object_or_404(own if role is None else own.filter(role=role), pk=message_id)


def _model_of(answer: Message) -> CatalogueModel:
    """The model that wrote an answer, or the one of the conversation if the answer was imported."""
    return CatalogueModel.objects.filter(generations__message=answer).first() or answer.conversation.model


def _try_to_estimate(estimate: Callable[[], Estimate | None]) -> Estimate | None:
    """The estimate, or None where the request would be refused; then the refusal says why."""
    try:
        return estimate()
    except (InvalidPrompt, ModelUnavailable, MessageGone, messages.NotWrittenHere):
        return None


def _request_answer(request: Request, answer: Message, ask: Callable[[], messages.Exchange]) -> HttpResponse:
    """Request an answer beside or after another one, and show its branch."""
    try:
        exchange = ask()
    except tuple(FAILURES) as error:
        return refuse_for(request, answer.conversation, error)
    return show_branch(request, exchange.conversation, at=exchange.answer)
