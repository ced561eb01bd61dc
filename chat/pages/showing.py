"""The page of a conversation and its fragments, and how a refusal is shown on it."""

from contextlib import suppress
from dataclasses import asdict
from typing import Any
from uuid import UUID, uuid4

from django.conf import settings as site
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.template.loader import render_to_string
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django_htmx.http import HttpResponseClientRedirect, reswap, retarget

from accounts.callers.requests import Request
from billing.ledger import CreditsOwed, InsufficientCredits, LedgerError, MonthlyCapReached, NoPrice
from billing.ledger.prices import PriceTag, current_price_tags
from billing.templatetags.money import format_credits
from chat import messages
from chat.branches import MessageGone
from chat.models import Conversation, Message, Role, SavedPrompt
from chat.pages.forms import SettingsForm
from chat.pages.tries import TRIES
from chat.pages.turns import Shown, read_exchange, read_shown, read_turn
from chat.settings import settings_of
from inference.catalogue import NOT_OFFERED, ModelUnavailable
from inference.generations.requesting import IdempotencyConflict, QueueUnavailable, TooManyAnswers
from inference.models import CatalogueModel, Generation
from inference.prompting.prompts import InvalidPrompt, sampling_defaults
from inference.prompting.showable import showable

# The errors of a send, with their HTTP status. Each error's message tells what to do.
FAILURES: dict[type[Exception], int] = {
    InvalidPrompt: 422,
    IdempotencyConflict: 409,
    messages.AnswerInProgress: 409,
    messages.NotContinuable: 409,
    messages.NotWrittenHere: 409,
    MessageGone: 409,
    InsufficientCredits: 402,
    CreditsOwed: 402,
    MonthlyCapReached: 402,
    LedgerError: 409,
    ModelUnavailable: 503,
    QueueUnavailable: 503,
    TooManyAnswers: 429,
}


HEADINGS = {
    "retry": gettext_lazy("Write an answer again"),
    "continue": gettext_lazy("Continue an answer"),
    "edit": gettext_lazy("Edit a prompt"),
    "delete": gettext_lazy("Delete a prompt and its answer"),
}


def own_conversation(request: Request, conversation_id: UUID | None) -> Conversation | None:
    """This user's conversation; None for a new chat. Raises Http404 for another user's."""
    if conversation_id is None:
        return None
    return get_object_or_404(Conversation.objects.for_user(request.user), pk=conversation_id)


def show_exchange(request: Request, exchange: messages.Exchange, seen: int | None) -> HttpResponse:
    """Answer with a new exchange, which the page appends, or redirect to the conversation's page.

    If it does not follow `seen`, which is the last message on the page, the page gets the whole branch instead.
    """
    prompt, talk = exchange.prompt, exchange.conversation
    if not request.htmx or exchange.is_repeated or prompt is None or prompt.parent_id != seen:
        return show_branch(request, talk)
    context = _talk_context(request, talk) | {"shown": read_exchange(talk, [prompt.pk, exchange.answer.pk])}
    return render(request, "chat/_exchange.html", context)


def show_branch(request: Request, talk: Conversation, at: Message | None = None) -> HttpResponse:
    """Answer with the branch that is shown, or redirect to its page, there to the message `at`."""
    if not request.htmx:
        return redirect(talk.get_absolute_url() + (f"#message-{at.pk}" if at else ""))
    response = render(request, "chat/_branch.html", _talk_context(request, talk) | {"shown": read_shown(talk)})
    return reswap(retarget(response, "#turns"), "innerHTML")


def open_page_of(request: Request, talk: Conversation) -> HttpResponse:
    """Send the browser to the page of a new conversation."""
    url = talk.get_absolute_url()
    return HttpResponseClientRedirect(url) if request.htmx else redirect(url)


def show_earlier(request: Request, talk: Conversation, before: int) -> HttpResponse:
    """Answer with the turns before a message, for the page that shows those after it."""
    context = {"conversation": talk, "shown": read_shown(talk, before)}
    return render(request, "chat/_earlier.html", context)


def render_done(request: Request, answer: Message) -> str:
    """An answer that has ended, with the composer and the balance as they are now."""
    context = _talk_context(request, answer.conversation) | {"shown": read_turn(answer)}
    return render_to_string("chat/_done.html", context, request)


def refuse_for(request: Request, talk: Conversation | None, error: Exception) -> HttpResponse:
    """Show why a send was refused.

    If an answer is being written that the page does not know of, the page also gets that, and can stop it.
    """
    is_capped = isinstance(error, MonthlyCapReached)
    response = refuse(request, talk, _explain(error), _status_of(error), is_capped)
    is_editing = "in_place_of" in request.POST  # the text stands in the branch, and must not be lost
    if request.htmx and talk is not None and isinstance(error, messages.AnswerInProgress) and not is_editing:
        context = _talk_context(request, talk) | {"shown": read_shown(talk)}
        response.write(render_to_string("chat/_caught_up.html", context, request))
    return response


def show_form(
    request: Request, what: str, message: Message, context: dict[str, Any], status: int = 200
) -> HttpResponse:
    """A form about a message, as a fragment that stands under it or as a page. `what` is a key of HEADINGS."""
    context |= {"what": what, "message": message, "conversation": message.conversation, "new_key": uuid4()}
    if request.htmx:
        return render(request, "chat/_ask.html", context)
    return render(request, "chat/ask.html", context | {"heading": HEADINGS[what]}, status=status)


def refuse(
    request: Request, talk: Conversation | None, error: str, status: int, is_capped: bool = False
) -> HttpResponse:
    """Show an error beside the composer and keep the draft. Nothing was changed."""
    if request.htmx:
        context = {"error": error, "status": status, "is_capped": is_capped}
        response = render(request, "chat/_error.html", context, status=status)
        return reswap(retarget(response, "#compose-error"), "innerHTML")
    if (edited := _find_edited(request, talk)) is not None:
        models = priced_models()
        chosen = (model for model, _price in models if model.key == request.POST.get("model"))
        context = {"error": error, "status": status, "is_capped": is_capped, "models": models}
        context["model"] = next(chosen, edited.conversation.model)
        return show_form(request, "edit", edited, context, status)
    return show_page(request, talk, draft=request.POST.get("text", ""), error=error, status=status, is_capped=is_capped)


def _find_edited(request: Request, talk: Conversation | None) -> Message | None:
    """The prompt whose form was sent, with the text of that form; None if the composer was sent."""
    number = number_of(request.POST.get("in_place_of", ""))
    if talk is None or number is None:
        return None
    prompt = talk.messages.filter(pk=number, role=Role.USER).first()
    if prompt is not None:
        prompt.conversation, prompt.text = talk, showable(request.POST.get("text", ""))
    return prompt


def show_page(
    request: Request,
    talk: Conversation | None = None,
    draft: str = "",
    error: str = "",
    status: int = 200,
    is_capped: bool = False,
) -> HttpResponse:
    """The page of a conversation, or of a new chat, with an error beside the composer if there is one."""
    talk_context = _talk_context(request, talk)
    context = talk_context | {
        "shown": Shown([]) if talk is None else read_shown(talk, number_of(request.GET.get("before", ""))),
        "knobs": _knobs(request, talk, talk_context["chosen_model"]),
        "saved_prompts": list(SavedPrompt.objects.filter(user=request.user).values_list("pk", "name")),
        "tries": [] if talk else TRIES,
        "draft": draft,
        "error": error,
        "status": status,
        "is_capped": is_capped,
    }
    return render(request, "chat/conversation.html", context, status=status)


def _knobs(request: Request, talk: Conversation | None, model: CatalogueModel | None) -> SettingsForm:
    """The settings of the conversation, or those that were sent with a message that was refused."""
    if request.method == "POST" and not SettingsForm.base_fields.keys().isdisjoint(request.POST):
        knobs = SettingsForm(request.POST)
    else:
        chosen = settings_of(talk)
        knobs = SettingsForm(initial={"system_prompt": chosen.system_prompt or _picked(request, talk), **chosen.chosen})
    if model is not None:
        with suppress(ModelUnavailable):
            knobs.show_defaults(asdict(sampling_defaults(model)) | {"min_p": 0, "max_tokens": site.DEFAULT_MAX_TOKENS})
    return knobs


def _picked(request: Request, talk: Conversation | None) -> str:
    """The saved system prompt with which a new chat was opened, by the page of saved ones; else nothing."""
    number = number_of(request.GET.get("prompt", "")) if talk is None else None
    picked = SavedPrompt.objects.filter(user=request.user, pk=number).first() if number else None
    return picked.text if picked else ""


def number_of(text: str) -> int | None:
    """The number that a query string names, if it is one."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 20 else None


def priced_models() -> list[tuple[CatalogueModel, PriceTag]]:
    """The models that can be chosen, each with its price now, in two queries."""
    models = list(CatalogueModel.objects.offered())
    tags = current_price_tags([model.key for model in models])
    return [(model, tags[model.key]) for model in models if model.key in tags]


def _talk_context(request: Request, talk: Conversation | None) -> dict[str, Any]:
    """What the composer and the display of credits need, in four queries: models, prices, live answer, wallet."""
    models = priced_models()
    offered = (model for model, _price in models if (model.key == talk.model_id if talk else model.is_available))
    chosen = next(offered, None)
    live = Generation.objects.live().filter(message__conversation=talk).first() if talk else None
    request.user.wallet.refresh_from_db()
    return {
        "conversation": talk,
        "models": models,
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
