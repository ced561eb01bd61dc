"""The search in all conversations, and the way from a hit to its message."""

from contextlib import suppress
from datetime import date, datetime, time, timedelta
from typing import Any
from uuid import UUID

from django import forms
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_safe

from accounts.callers.requests import Request
from chat.branches import MessageGone, read_branches
from chat.messages import AnswerInProgress
from chat.pages.conversations import find_conversation
from chat.pages.forms import WordsField
from chat.pages.turns import address_in
from chat.search import MOST_CHARACTERS, MOST_SHOWN, Question, search
from chat.versions import select_version
from inference.models import CatalogueModel


class SearchForm(forms.Form):
    """What is looked for, and in which conversations."""

    q = WordsField(
        label=gettext_lazy("Search"),
        required=False,
        max_length=MOST_CHARACTERS,
        error_messages={"max_length": gettext_lazy("Search for at most %(limit_value)d characters.")},
    )
    model = forms.ModelChoiceField(
        CatalogueModel.objects.order_by("position", "key"),
        label=gettext_lazy("Model"),
        required=False,
        empty_label=gettext_lazy("Any model"),
    )
    since = forms.DateField(label=gettext_lazy("Used since"), required=False)
    until = forms.DateField(label=gettext_lazy("Used until"), required=False)

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.label_suffix = ""
        for field in self.fields.values():
            field.widget.attrs["class"] = "field"
        self.fields["q"].widget.input_type = "search"
        self.fields["q"].widget.attrs |= {"dir": "auto", "maxlength": None}
        for name in ("since", "until"):
            self.fields[name].widget.input_type = "date"

    def question(self) -> Question:
        """The question. The days are those of the reader's time zone. Call it for a valid form."""
        fields = self.cleaned_data
        until = fields["until"]
        return Question(
            text=fields["q"],
            model=fields["model"].pk if fields["model"] else None,
            since=_begin(fields["since"]),
            until=_begin(until + timedelta(days=1)) if until and until < date.max else None,
        )


@require_safe
@login_required
def results(request: Request) -> HttpResponse:
    """The conversations that contain what is looked for, the best first, with their best messages."""
    form = SearchForm(request.GET)
    context: dict[str, Any] = {"heading": _("Search"), "form": form, "most": MOST_SHOWN}
    if form.is_valid():
        found, has_more = search(user=request.user, question=form.question())
        context |= {"found": found, "has_more": has_more}
    return render(request, "chat/search.html", context, status=200 if form.is_valid() else 422)


@require_safe
@login_required
def open_hit(request: Request, conversation_id: UUID, message_id: int) -> HttpResponse:
    """Lead to a message on the page of its conversation, which then shows the branch that the message is on."""
    talk = find_conversation(request, conversation_id)
    message = get_object_or_404(talk.messages, pk=message_id)
    branches = read_branches(talk)
    if message_id not in branches.path():
        with suppress(AnswerInProgress, MessageGone):  # an answer that is being written stays on the page
            branches = read_branches(select_version(message=message))
    return redirect(f"{talk.get_absolute_url()}{address_in(branches, message_id)}")


def _begin(day: date | None) -> datetime | None:
    """The moment at which a day begins for the reader."""
    try:
        return timezone.make_aware(datetime.combine(day, time.min)) if day else None
    except OverflowError:
        return None
