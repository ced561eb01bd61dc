"""Saved system prompts: their page, the form of each, and what the settings of a conversation get of them."""

from collections.abc import Callable

from django import forms
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts.callers.requests import Request
from chat.models import PROMPT_NAME_LENGTH, SavedPrompt
from chat.pages.forms import SettingsForm, WordsField
from chat.pages.showing import number_of
from chat.saved_prompts import MOST_SAVED, NameTaken, TooManySaved, change_prompt, delete_prompt, save_prompt
from inference.prompting.prompts import InvalidPrompt


class PromptForm(forms.Form):
    """A name and a text. What is wrong with them the service says."""

    name = WordsField(
        required=False,
        label=gettext_lazy("Name"),
        widget=forms.TextInput(attrs={"class": "field", "maxlength": PROMPT_NAME_LENGTH, "dir": "auto"}),
    )
    text = WordsField(
        required=False,
        label=gettext_lazy("System prompt"),
        widget=forms.Textarea(attrs={"class": "field", "rows": 5, "dir": "auto"}),
    )


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def saved(request: Request) -> HttpResponse:
    """The customer's system prompts, and the form that keeps another one."""
    form = PromptForm(request.POST or None)
    if request.method == "POST" and _is_done(form, lambda: save_prompt(user=request.user, **form.cleaned_data)):
        return redirect("chat:prompts")
    prompts = SavedPrompt.objects.filter(user=request.user)
    context = {"heading": _("Saved system prompts"), "form": form, "prompts": prompts, "most": MOST_SAVED}
    return render(request, "chat/prompts.html", context, status=422 if form.errors else 200)


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def change(request: Request, prompt_id: int) -> HttpResponse:
    """The form of one of them."""
    prompt = _own(request, prompt_id)
    form = PromptForm(request.POST or None, initial={"name": prompt.name, "text": prompt.text})
    if request.method == "POST" and _is_done(form, lambda: change_prompt(prompt=prompt, **form.cleaned_data)):
        return redirect("chat:prompts")
    context = {"heading": _("Change a system prompt"), "form": form, "prompt": prompt}
    return render(request, "chat/prompt.html", context, status=422 if form.errors else 200)


@require_POST
@login_required
def delete(request: Request, prompt_id: int) -> HttpResponse:
    """Keep it no longer."""
    delete_prompt(prompt=_own(request, prompt_id))
    return redirect("chat:prompts")


@require_safe
@login_required
def pick(request: Request) -> HttpResponse:
    """The field of the system prompt with the one that was picked, for the settings of a conversation; or empty."""
    picked = request.GET.get("saved")
    text = _own(request, number_of(picked) or 0).text if picked else ""
    knobs = SettingsForm(initial={"system_prompt": text})
    return render(request, "chat/_system_prompt.html", {"knobs": knobs})


def _own(request: Request, prompt_id: int) -> SavedPrompt:
    return get_object_or_404(SavedPrompt.objects.filter(user=request.user), pk=prompt_id)


def _is_done(form: PromptForm, do: Callable[[], object]) -> bool:
    """Whether a valid form could be kept; its errors say why not."""
    if not form.is_valid():
        return False
    try:
        do()
    except (InvalidPrompt, NameTaken, TooManySaved) as refused:
        form.add_error(None, str(refused))
        return False
    return True
