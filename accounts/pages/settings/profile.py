"""The page of the profile: name, look, language and time zone."""

from itertools import groupby
from typing import Any
from zoneinfo import ZoneInfo

from django import forms
from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_http_methods

from accounts.callers.requests import Request
from accounts.models import Look
from accounts.profile import change_profile, time_zones


class ProfileForm(forms.Form):
    """What a user chooses for themselves."""

    first_name = forms.CharField(
        label=gettext_lazy("First name"),
        required=False,
        max_length=150,
        widget=forms.TextInput(attrs={"class": "field", "autocomplete": "given-name", "dir": "auto"}),
    )
    last_name = forms.CharField(
        label=gettext_lazy("Last name"),
        required=False,
        max_length=150,
        widget=forms.TextInput(attrs={"class": "field", "autocomplete": "family-name", "dir": "auto"}),
    )
    look = forms.ChoiceField(label=gettext_lazy("Look"), choices=Look.choices, widget=forms.RadioSelect)
    language = forms.ChoiceField(
        label=gettext_lazy("Language"),
        required=False,
        choices=[("", gettext_lazy("As the browser asks")), *settings.LANGUAGES],
        widget=forms.Select(attrs={"class": "field"}),
    )
    time_zone = forms.ChoiceField(label=gettext_lazy("Time zone"), widget=forms.Select(attrs={"class": "field"}))

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.fields["time_zone"].choices = zone_choices()  # type: ignore[attr-defined]


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def profile(request: Request) -> HttpResponse:
    """Show the profile, and change it."""
    user = request.user
    now = {name: getattr(user, name) for name in ("first_name", "last_name", "look", "language", "time_zone")}
    form = ProfileForm(request.POST if request.method == "POST" else None, initial=now)
    if form.is_valid():
        change_profile(user=user, **form.cleaned_data)
        messages.success(request, _("Saved"))
        return redirect("settings:profile")
    context = {"heading": _("Settings"), "section": "profile", "form": form}
    return render(request, "accounts/settings/profile.html", context, status=422 if form.is_bound else 200)


def zone_choices() -> list[tuple[str, Any]]:
    """Time zones by area, each with its time now: ("Europe", [("Europe/Berlin", "Berlin, 14:28 now"), …])."""
    now = timezone.now()
    return [
        (area, [(name, _label(name, now.astimezone(ZoneInfo(name)).strftime("%H:%M"))) for name in names])
        for area, names in groupby(time_zones(), lambda name: name.partition("/")[0])
    ]


def _label(name: str, time: str) -> str:
    place = name.partition("/")[2].replace("_", " ").replace("/", ", ") or name
    return _("{place}, {time} now").format(place=place, time=time)
