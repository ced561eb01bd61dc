"""The pages of API keys: the list, a new key, and one key with its settings, another text and its end."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_safe

from accounts import api_keys
from accounts.callers.recent_log_ins import recently_confirmed
from accounts.callers.requests import Request
from accounts.models import ApiKey
from billing.ledger.key_caps import read_spent_by_key
from billing.pages.settings.key_forms import KeyForm, NewKeyForm, RotateForm

FORM = ["GET", "HEAD", "POST"]
MOST_ENDED = 20  # keys that no longer work, the latest, are listed


@dataclass(frozen=True, slots=True)
class Row:
    """A key, and what it spent this month."""

    key: ApiKey
    spent_microcredits: int


@require_safe
@login_required
def keys(request: Request) -> HttpResponse:
    """The keys that work, and below them those that have ended."""
    mine = ApiKey.objects.for_user(request.user)
    live = list(mine.live())
    spent = read_spent_by_key(live) if live else {}
    context = {
        "heading": _("Settings"),
        "section": "keys",
        "rows": [Row(key, spent.get(key.pk, 0)) for key in live],
        "ended": mine.exclude(pk__in=[key.pk for key in live])[:MOST_ENDED],
    }
    return render(request, "billing/settings/keys.html", context)


@require_http_methods(FORM)
@login_required
@recently_confirmed
def new_key(request: Request) -> HttpResponse:
    """Make a key; the answer shows its text, this once."""
    form = NewKeyForm(request.POST if request.method == "POST" else None)
    if not form.is_valid():
        return _render(request, "key_form", status=422 if form.is_bound else 200, form=form)
    try:
        key, text, is_new = api_keys.create_key_once(
            user=request.user, form_id=form.cleaned_data["form_id"], **form.settings
        )
    except (api_keys.TooManyKeys, api_keys.KeyEnded) as error:
        return _render(request, "key_form", status=422, form=form, error=str(error))
    return _show_text(request, key, text, _("Your new key") if is_new else _("The same key, with another text"))


@require_http_methods(FORM)
@login_required
@recently_confirmed
def key(request: Request, key_id: int) -> HttpResponse:
    """One key: what is set, and a form to change it."""
    mine = _own_key(request, key_id)
    form = KeyForm(request.POST if request.method == "POST" else None, key=mine)
    if not form.is_valid():
        status = 422 if form.is_bound else 200
        return _render(request, "key_form", status=status, form=form, key=mine, rotate_form=RotateForm())
    try:
        api_keys.change_key(key=mine, by=request.user, **form.settings)
    except api_keys.KeyEnded as error:
        return _render(request, "key_ended", status=409, key=mine, error=str(error))
    messages.success(request, _("Saved"))
    return redirect("settings:keys")


@require_http_methods(FORM)
@login_required
@recently_confirmed
def rotate_key(request: Request, key_id: int) -> HttpResponse:
    """Give a key another text, which the answer shows this once."""
    mine = _own_key(request, key_id)
    form = RotateForm(request.POST if request.method == "POST" else None)
    if not form.is_valid():
        return _render(request, "key_rotate", status=422 if form.is_bound else 200, form=form, key=mine)
    overlap = timedelta(seconds=form.cleaned_data["overlap"])
    try:
        mine, text = api_keys.rotate_key(key=mine, by=request.user, overlap=overlap)
    except api_keys.KeyEnded as error:
        return _render(request, "key_ended", status=409, key=mine, error=str(error))
    return _show_text(request, mine, text, _("The new text"))


@require_http_methods(FORM)
@login_required
@recently_confirmed
def revoke_key(request: Request, key_id: int) -> HttpResponse:
    """Ask, then end a key at once."""
    mine = _own_key(request, key_id)
    if request.method != "POST":
        return _render(request, "key_revoke", key=mine)
    api_keys.revoke_key(key=mine, by=request.user)
    messages.success(request, _("The key is revoked"))
    return redirect("settings:keys")


def _own_key(request: Request, key_id: int) -> ApiKey:
    return get_object_or_404(ApiKey.objects.for_user(request.user), pk=key_id)


def _show_text(request: Request, key: ApiKey, text: str, title: str) -> HttpResponse:
    return _render(request, "key_text", key=key, text=text, title=title)


def _render(request: Request, name: str, status: int = 200, **context: Any) -> HttpResponse:
    page = {"heading": _("API keys"), "section": "keys"}
    return render(request, f"billing/settings/{name}.html", page | context, status=status)
