"""The list of conversations: its further pages, the archive, and what the menu of each row does.

With htmx an action answers with the part of the list that it changed; without, it leads back to the page it came from.
"""

from urllib.parse import parse_qsl, urlencode, urlsplit
from uuid import UUID

from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST, require_safe
from django_htmx.http import HttpResponseClientRedirect, reswap, retarget

from accounts.callers.requests import Request
from chat import conversations
from chat.lists import Cursor, InvalidCursor, read_archive, read_list
from chat.messages import AnswerInProgress
from chat.models import Conversation
from chat.templatetags.conversations import open_conversation_id
from inference.prompting.prompts import InvalidPrompt
from inference.prompting.showable import showable

TOLD = ("deleted", "archived")  # what the next page tells of, by the names in its query string


@require_safe
@login_required
def archive(request: Request) -> HttpResponse:
    """The archived conversations, a page at a time."""
    page = read_archive(request.user, _cursor(request))
    return render(request, "chat/archive.html", {"heading": _("Archive"), "page": page})


@require_safe
@login_required
def older(request: Request) -> HttpResponse:
    """The next page of the list: for the side bar as a fragment, without JavaScript as a page."""
    page = read_list(request.user, _cursor(request))
    if request.htmx:
        context = {"page": page, "current": open_conversation_id(request)}
        return render(request, "chat/_rooms.html", context)
    return render(request, "chat/older.html", {"heading": _("Conversations"), "page": page})


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def rename(request: Request, conversation_id: UUID) -> HttpResponse:
    """The form for another title, and the new title. With htmx both stand in the row."""
    talk, error = find_conversation(request, conversation_id), ""
    title = showable(request.POST.get("title", talk.title))
    if request.method == "POST":
        try:
            conversations.rename_conversation(conversation=talk, title=title)
        except InvalidPrompt as invalid:
            error = str(invalid)
        else:
            return _show_row(request, talk) if request.htmx else _back(request, talk)
    elif request.htmx and "keep" in request.GET:
        return _show_row(request, talk)
    template = "chat/_rename.html" if request.htmx else "chat/rename.html"
    context = {"item": talk, "title": title, "error": error, "heading": _("Rename")}
    response = render(request, template, context, status=422 if error else 200)
    return reswap(retarget(response, "closest li"), "innerHTML") if error and request.htmx else response


@require_POST
@login_required
def pin(request: Request, conversation_id: UUID) -> HttpResponse:
    """Put it on top of the list."""
    talk = find_conversation(request, conversation_id)
    try:
        conversations.pin_conversation(conversation=talk)
    except conversations.TooManyPinned as refused:
        return _refuse(request, str(refused))
    return _show_list(request) if request.htmx else _back(request, talk)


@require_POST
@login_required
def unpin(request: Request, conversation_id: UUID) -> HttpResponse:
    """Let it stand by its date again."""
    talk = find_conversation(request, conversation_id)
    conversations.unpin_conversation(conversation=talk)
    return _show_list(request) if request.htmx else _back(request, talk)


@require_POST
@login_required
def put_away(request: Request, conversation_id: UUID) -> HttpResponse:
    """Archive it."""
    talk = find_conversation(request, conversation_id)
    conversations.archive_conversation(conversation=talk)
    return _without_row(request, talk, "archived")


@require_POST
@login_required
def take_back(request: Request, conversation_id: UUID) -> HttpResponse:
    """Take it out of the archive."""
    talk = find_conversation(request, conversation_id)
    conversations.unarchive_conversation(conversation=talk)
    if request.htmx:
        return _show_restored(request, talk)
    return _back(request, talk) if "next" in request.POST else redirect(talk)


@require_POST
@login_required
def delete(request: Request, conversation_id: UUID) -> HttpResponse:
    """Hide it, with a way back. A second click, or one in another tab, finds it deleted and says the same."""
    talk = get_object_or_404(Conversation, user=request.user, pk=conversation_id)
    try:
        conversations.hide_conversation(conversation=talk)
    except AnswerInProgress as refused:
        return _refuse(request, str(refused))
    return _without_row(request, talk, "deleted")


@require_POST
@login_required
def restore(request: Request, conversation_id: UUID) -> HttpResponse:
    """Take its deletion back; again, nothing happens."""
    talk = get_object_or_404(Conversation, user=request.user, pk=conversation_id)
    conversations.restore_conversation(conversation=talk)
    return _show_restored(request, talk) if request.htmx else redirect(talk)


def find_conversation(request: Request, conversation_id: UUID) -> Conversation:
    """This user's conversation. Raises Http404."""
    return get_object_or_404(Conversation.objects.for_user(request.user), pk=conversation_id)


def _cursor(request: Request) -> Cursor | None:
    """The place in the list that the URL names. Raises Http404."""
    text = request.GET.get("before")
    if not text:
        return None
    try:
        return Cursor.parse(text)
    except InvalidCursor:
        raise Http404 from None


def _show_row(request: Request, talk: Conversation) -> HttpResponse:
    context = {"item": talk, "current": open_conversation_id(request), "is_focused": True}
    return render(request, "chat/_room.html", context)


def _show_list(request: Request) -> HttpResponse:
    context = {"page": read_list(request.user), "current": open_conversation_id(request)}
    return render(request, "chat/_list.html", context)


def _show_restored(request: Request, talk: Conversation) -> HttpResponse:
    """The notice that it is back, and the list with it."""
    context = {"item": talk, "page": read_list(request.user), "current": open_conversation_id(request), "oob": True}
    return render(request, "chat/_restored.html", context)


def _without_row(request: Request, talk: Conversation, told: str) -> HttpResponse:
    """Nothing in the place of its row, and a notice with a way back. If its page is open, a new chat is opened."""
    if not request.htmx:
        return _back(request, talk, told)
    if told == "deleted" and open_conversation_id(request) == talk.pk:
        return HttpResponseClientRedirect(f"{reverse('chat:home')}?{urlencode({told: talk.pk})}")
    return render(request, "chat/_told.html", {"told": {"what": told, "conversation": talk}, "oob": True})


def _refuse(request: Request, words: str) -> HttpResponse:
    """Say why nothing was changed: with htmx as a notice beside the unchanged list, else on a page of its own."""
    if request.htmx:
        return reswap(render(request, "chat/_notice.html", {"words": words}), "none")
    context = {"heading": _("Nothing was changed"), "words": words, "back": _next(request)}
    return render(request, "chat/refused.html", context, status=409)


def _back(request: Request, talk: Conversation, told: str = "") -> HttpResponseRedirect:
    """To the page that the form stood on, which may tell what was done."""
    address = urlsplit(_next(request))
    path = address.path or reverse("chat:home")
    if told == "deleted" and path.startswith(talk.get_absolute_url()):
        path = reverse("chat:home")
    query = [(name, value) for name, value in parse_qsl(address.query) if name not in TOLD]
    if told:
        query.append((told, str(talk.pk)))
    return HttpResponseRedirect(f"{path}?{urlencode(query)}" if query else path)


def _next(request: Request) -> str:
    """The page that the form stood on, or the first one where the form names none of ours."""
    address = request.POST.get("next", "")
    is_ours = url_has_allowed_host_and_scheme(address, allowed_hosts=None) and address.startswith("/")
    return address if is_ours else reverse("chat:home")
