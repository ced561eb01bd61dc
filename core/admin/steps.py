"""An admin form in two steps: first what would happen, then, confirmed, it happens once."""

from collections.abc import Callable
from typing import Any, TypeVar

from django import forms
from django.contrib.admin import ModelAdmin
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse


class TwoStepForm(forms.Form):
    """The key makes a double click harmless; `confirmed` comes with the second step."""

    idempotency_key = forms.UUIDField(widget=forms.HiddenInput)
    confirmed = forms.BooleanField(required=False, widget=forms.HiddenInput)


class StepRefused(Exception):
    """It cannot be done; the message says why. `status` is the page's: 409 where the key did something else before."""

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
    """Show the form, then `preview` of it in words, then let `act` do it and answer.

    Both may raise StepRefused. `page` has `title`, `button`, `back` and, as the case may be, `intro` and `original`.
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
