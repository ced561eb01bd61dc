"""The list of conversations for the side bar of any page, and what a page tells of the last action."""

from typing import Any
from uuid import UUID

from django import template
from django.core.exceptions import ValidationError
from django.urls import Resolver404, resolve
from django.utils.translation import gettext as _

from chat.lists import Page, read_list
from chat.models import Conversation, ConversationQuerySet

register = template.Library()


@register.simple_tag(takes_context=True)
def list_conversations(context: Any) -> Page | None:
    """The first page of the customer's list, in one query; None for strangers."""
    user = getattr(context.get("request"), "user", None)
    return read_list(user) if user and user.is_authenticated else None


@register.simple_tag(takes_context=True)
def shown_conversation(context: Any) -> UUID | None:
    """The id of the conversation whose page is shown."""
    return open_conversation_id(context["request"])


@register.simple_tag(takes_context=True)
def last_action(context: Any) -> dict[str, Any] | None:
    """The conversation that was just deleted or archived, which the query string names; most pages need no query."""
    request = context.get("request")
    user = getattr(request, "user", None)
    if request is None or not (user and user.is_authenticated):
        return None
    for what, rows in (("deleted", Conversation.objects.deleted_by), ("archived", _archived_by)):
        if what in request.GET:
            found = _find(rows(user), request.GET[what])
            return {"what": what, "conversation": found} if found else None
    return None


@register.filter
def more_for(title: str) -> str:
    """The name of the menu of a row."""
    return _("More for {title}").format(title=title)


def open_conversation_id(request: Any) -> UUID | None:
    """The id of the conversation whose page is shown, or whose page sent this htmx request."""
    htmx = getattr(request, "htmx", None)
    path = htmx.current_url_abs_path if htmx else request.path
    try:
        match = resolve((path or "/").partition("?")[0])
    except Resolver404:
        return None
    return match.kwargs.get("conversation_id") if match.view_name == "chat:conversation" else None


def _archived_by(user: Any) -> ConversationQuerySet:
    return Conversation.objects.filter(user=user).archived()


def _find(rows: ConversationQuerySet, pk: str) -> Conversation | None:
    try:
        return rows.filter(pk=pk).first()
    except ValidationError:
        return None
