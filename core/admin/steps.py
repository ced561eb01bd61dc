"""An admin form in two steps: the first shows what would happen, the second confirms it and does it once."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from django import forms
from django.contrib.admin import ModelAdmin
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse


class TwoStepForm(forms.Form):
    """The idempotency key makes a double click harmless; `confirmed` is true in the second step."""

    idempotency_key = forms.UUIDField(widget=forms.HiddenInput)
    confirmed = forms.BooleanField(required=False, widget=forms.HiddenInput)

    @property
    def chosen(self) -> list[tuple[str, str]]:
        """What was chosen in the first step, for people: label and value of each field that they saw and filled."""
        found = []
        for bound in self.visible_fields():
            value = self.cleaned_data.get(bound.name)
            if value not in (None, "", False):
                choices = dict(getattr(bound.field, "choices", ()))
                found.append((str(bound.label), str(choices.get(value, value))))
        return found


class StepRefused(Exception):
    """The action is refused; the message says why.

    `status` is the HTTP status of the page: 409 if the idempotency key was used for another action before.
    """

    def __init__(self, message: object, *, status: int = 200) -> None:
        super().__init__(str(message))
        self.status = status


@dataclass(frozen=True, slots=True)
class Line:
    """One amount that an action changes: what it is before and after, as text."""

    name: str
    before: str
    change: str
    after: str


@dataclass(frozen=True, slots=True)
class Preview:
    """What an action would do: in a sentence, in lines, with a warning, and with the words of the last button."""

    text: str
    lines: tuple[Line, ...] = ()
    warning: str = ""
    button: str = ""


AnyForm = TypeVar("AnyForm", bound=TwoStepForm)


def answer_in_two_steps(
    request: HttpRequest,
    *,
    model_admin: ModelAdmin[Any],
    form: AnyForm,
    preview: Callable[[AnyForm], Preview],
    act: Callable[[AnyForm], HttpResponse],
    page: dict[str, Any],
) -> HttpResponse:
    """Show the form; then show what `preview` says; then, when it is confirmed, return the answer of `act`.

    `preview` and `act` may raise StepRefused, which is shown with the form. `page` has `title`, `button` and `back`,
    and may have `intro`, `original` and `facts`, which are pairs of words about what it is done to.
    """
    shown, status = None, 200
    if request.method == "POST" and form.is_valid():
        try:
            if form.cleaned_data["confirmed"]:
                return act(form)
            shown = preview(form)
        except StepRefused as refused:
            form.add_error(None, str(refused))
            status = refused.status
    context = {**model_admin.admin_site.each_context(request), "opts": model_admin.opts, "form": form, "preview": shown}
    return TemplateResponse(request, "admin/two_steps.html", context | page, status=status)
