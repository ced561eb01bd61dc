"""Conversations in the admin: their metadata, and behind a reason what was written in them."""

from typing import Any, cast

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from accounts.callers.requests import Request
from chat.models import Conversation
from chat.staff_reading import PERMISSION, READING_MINUTES, Why, open_conversation, seconds_left
from core.admin.base import ReadOnlyAdmin
from core.admin.large_lists import LargeList

MESSAGES_A_PAGE = 50


class WhyForm(forms.Form):
    """Why somebody wants to read a conversation."""

    why = forms.ChoiceField(label=gettext_lazy("Reason"), choices=Why.choices)
    text = forms.CharField(
        label=gettext_lazy("In your words"),
        max_length=300,
        widget=forms.TextInput(attrs={"class": "vTextField"}),
        help_text=gettext_lazy("It stands in the audit log, with your name. A ticket's number, for instance."),
    )


@admin.register(Conversation)
class ConversationAdmin(LargeList, ReadOnlyAdmin):
    """Metadata. The title is left out, because it is the customer's text.

    On `<id>/read/` stands what was written, for whoever gave a reason for this conversation some minutes ago. That
    goes for superusers too.
    """

    list_display = ("id", "user", "model", "created_at", "updated_at")
    list_filter = ("model", "created_at")
    people, found_by = "user", ("id",)
    ordering = ("-created_at", "-id")
    fields = ("id", "user", "model", "created_at", "updated_at")
    list_select_related = ("user", "model")

    def get_urls(self) -> list[URLPattern]:
        """Add the page of what was written, before the admin's own pages."""
        read = self.admin_site.admin_view(self.read_view)
        return [path("<path:object_id>/read/", read, name="chat_conversation_read"), *super().get_urls()]

    def read_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask why; then show the messages. Raises PermissionDenied, or Http404 for a deleted conversation too."""
        if not request.user.has_perm(PERMISSION):
            raise PermissionDenied
        talk = cast(Conversation | None, self.get_object(request, object_id))
        if talk is None or talk.deleted_at is not None:
            raise Http404
        page: dict[str, Any] = {**self.admin_site.each_context(request), "opts": self.opts, "talk": talk}
        page |= {"title": _("What was written"), "minutes": READING_MINUTES}
        left = seconds_left(conversation=talk, session=request.session)
        if left:
            return self._show(request, talk, page | {"minutes": -(-left // 60)})
        form = WhyForm(request.POST if request.method == "POST" else None)
        if form.is_valid():
            by = cast(Request, request).user
            why, text = Why(form.cleaned_data["why"]), form.cleaned_data["text"]
            open_conversation(conversation=talk, by=by, why=why, text=text, session=request.session)
            return redirect(reverse("admin:chat_conversation_read", args=[talk.pk]))
        return TemplateResponse(request, "admin/chat/conversation/why.html", page | {"form": form})

    def _show(self, request: HttpRequest, talk: Conversation, page: dict[str, Any]) -> HttpResponse:
        """The messages of all branches in the order they were written, some a page."""
        if request.method == "POST":  # a second click on the form: the reason was taken
            return redirect(reverse("admin:chat_conversation_read", args=[talk.pk]))
        after = request.GET.get("after", "0")
        after_id = int(after) if after.isdecimal() and len(after) < 19 else 0
        found = list(talk.messages.filter(pk__gt=after_id).order_by("pk")[: MESSAGES_A_PAGE + 1])
        page |= {"shown": found[:MESSAGES_A_PAGE], "more": len(found) > MESSAGES_A_PAGE}
        return TemplateResponse(request, "admin/chat/conversation/read.html", page)
