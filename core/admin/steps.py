"""An admin form in two steps: the first shows what would happen, the second confirms it and does it once."""

from collections.abc import Callable
from typing import Any, TypeVar

from django import forms
from django.contrib.admin import ModelAdmin
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse


class TwoStepForm(forms.Form):
    """The idempotency key makes a double click harmless; `confirmed` is true in the second step."""

    idempotency_key = forms.UUIDField(widget=forms.HiddenInput)
    confirmed = forms.BooleanField(required=False, widget=forms.HiddenInput)


class StepRefused(Exception):
    """The action is refused; the message says why.

    `status` is the HTTP status of the page: 409 if the idempotency key was used for another action before.
    """

    def __init__(self, message: object, *, status: int = 200) -> None:
        super().__init__(str(message))
        self.status = status


AnyForm = TypeVar("AnyForm", bound=TwoStepForm)


def answer_in_two_steps(
    request: HttpRequest,
    *,
    model_admin: ModelAdmin[Any],
    form: AnyForm,
    preview: Callable[[AnyForm], str],
    act: Callable[[AnyForm], HttpResponse],
    page: dict[str, Any],
) -> HttpResponse:
    """Show the form; then show the text of `preview`; then, when it is confirmed, return the answer of `act`.

    `preview` and `act` may raise StepRefused, which is shown with the form. `page` has `title`, `button` and `back`,
    and may have `intro` and `original`.
    """
    words, status = "", 200
    if request.method == "POST" and form.is_valid():
        try:
            if form.cleaned_data["confirmed"]:
                return act(form)
            words = preview(form)
        except StepRefused as refused:
            form.add_error(None, str(refused))
            status = refused.status
    context = {**model_admin.admin_site.each_context(request), "opts": model_admin.opts, "form": form, "preview": words}
    return TemplateResponse(request, "admin/two_steps.html", context | page, status=status)
