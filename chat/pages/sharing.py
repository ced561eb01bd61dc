"""Shared links: making and revoking them, and the page that anybody reads."""

import time
from typing import Any
from uuid import UUID, uuid4

from django import forms
from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.template.loader import render_to_string
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts.callers.page_limits import answer_too_often
from accounts.callers.requests import Request
from accounts.pages.public_pages import public_answer
from chat.branches import MessageGone
from chat.models import SharedLink
from chat.pages.conversations import find_conversation
from chat.transfer.sharing import (
    DAYS,
    MOST_READ,
    NothingToShare,
    read_shared_messages,
    revoke_link,
    share_conversation,
)
from core.client_addresses import client_network
from core.rest.throttles import count_in_minute
from inference.prompting.showable import showable

MOST_LISTED = 200
HEADERS = {"Cache-Control": "no-store", "X-Robots-Tag": "noindex, nofollow", "Referrer-Policy": "no-referrer"}


class ShareForm(forms.Form):
    """When the link expires, and the key that makes a double click harmless."""

    days = forms.TypedChoiceField(
        label=gettext_lazy("The link can be read"),
        choices=[
            (str(DAYS[0]), gettext_lazy("for 7 days")),
            (str(DAYS[1]), gettext_lazy("for 30 days")),
            ("0", gettext_lazy("until I revoke it")),
        ],
        coerce=int,
        initial=str(DAYS[0]),
    )
    key = forms.UUIDField(widget=forms.HiddenInput)


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def share(request: Request, conversation_id: UUID) -> HttpResponse:
    """The links to a conversation, and the form that makes another one."""
    talk = find_conversation(request, conversation_id)
    form, error = ShareForm(request.POST or None, initial={"key": uuid4()}), ""
    if request.method == "POST" and form.is_valid():
        try:
            share_conversation(conversation=talk, days=form.cleaned_data["days"], key=form.cleaned_data["key"])
        except (NothingToShare, MessageGone) as refused:
            error = str(refused)
        else:
            return redirect("chat:share", talk.pk)
    links = SharedLink.objects.of_user(request.user).filter(conversation=talk)
    context = _links(request, links) | {"item": talk, "form": form, "error": error, "heading": talk.title}
    return render(request, "chat/share.html", context, status=422 if request.method == "POST" else 200)


@require_safe
@login_required
def links(request: Request) -> HttpResponse:
    """All links of this customer."""
    own = SharedLink.objects.of_user(request.user).select_related("conversation")
    return render(request, "chat/links.html", _links(request, own) | {"heading": gettext_lazy("Shared links")})


@require_POST
@login_required
def revoke(request: Request, link_id: int) -> HttpResponse:
    """Let nobody read it any more."""
    link = get_object_or_404(SharedLink.objects.of_user(request.user), pk=link_id)
    revoke_link(link=link)
    return (
        redirect("chat:links") if request.POST.get("from") == "links" else redirect("chat:share", link.conversation_id)
    )


@require_safe
@public_answer
def shared(request: HttpRequest, token: str) -> HttpResponse:
    """What anybody reads: the messages as they were shared, and nothing of whose they are.

    It is not cached, so that it is gone at once when its link is revoked. 410 says that there was such a link.
    """
    counts = count_in_minute([f"shared:{client_network(request)}"], 1, int(time.time()))
    if counts is not None and counts[0] > settings.PAGE_LIMITS["shared"]:
        return answer_too_often(request, 60)
    token = showable(token)  # a NUL could not be looked for
    link = SharedLink.objects.open().filter(token=token).first()
    if link is None:
        was_there = SharedLink.objects.filter(token=token).exists()
        page, status = render_to_string("chat/shared_gone.html", {"was_there": was_there}), 410 if was_there else 404
    else:
        shown = {"link": link, "turns": read_shared_messages(link), "is_cut": len(link.message_ids) > MOST_READ}
        page, status = render_to_string("chat/shared.html", shown), 200
    return HttpResponse(page, status=status, headers=HEADERS)


def _links(request: Request, own: Any) -> dict[str, Any]:
    """The links with their addresses, and the ids of those that can be read."""
    shown = list(own[:MOST_LISTED])
    open_ids = set(SharedLink.objects.open().filter(pk__in=[link.pk for link in shown]).values_list("pk", flat=True))
    rows = [(link, request.build_absolute_uri(link.get_absolute_url()), link.pk in open_ids) for link in shown]
    return {"links": rows}
