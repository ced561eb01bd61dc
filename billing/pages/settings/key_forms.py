"""The form of an API key."""

from datetime import datetime, time, timedelta
from typing import Any
from uuid import uuid4

from django import forms
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from accounts.models import ApiKey, Scope
from billing.models import Price
from billing.pages.form_fields import CreditsField

LONGEST_LIFE = timedelta(days=3653)  # of a key that ends


class KeyForm(forms.Form):
    """What a key is called, what it may do, what it may spend, and until when."""

    name = forms.CharField(
        label=gettext_lazy("Name"),
        max_length=60,
        widget=forms.TextInput(attrs={"class": "field", "autocomplete": "off", "dir": "auto"}),
        help_text=gettext_lazy("For you, to know it again: where it is used."),
    )
    scopes = forms.MultipleChoiceField(
        label=gettext_lazy("It may"),
        choices=Scope.choices,
        widget=forms.CheckboxSelectMultiple,
        error_messages={"required": gettext_lazy("Choose at least one.")},
    )
    allowed_models = forms.MultipleChoiceField(
        label=gettext_lazy("Models it may ask"),
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text=gettext_lazy("None chosen means all, also those that come later."),
    )
    cap = CreditsField(
        label=gettext_lazy("At most this many credits a calendar month (UTC)"),
        required=False,
        help_text=gettext_lazy("Leave it empty and only your balance limits it."),
    )
    expires_on = forms.DateField(
        label=gettext_lazy("Last day"),
        required=False,
        widget=forms.DateInput(attrs={"class": "field", "type": "date"}, format="%Y-%m-%d"),
        help_text=gettext_lazy("It stops when this day ends, in your time zone. Leave it empty for no end."),
    )

    def __init__(self, *args: Any, key: ApiKey | None = None, **options: Any) -> None:
        """With `key`, the form shows what is set now."""
        self.key = key
        options["initial"] = _initial(key) if key else {"scopes": [Scope.CHAT]}
        super().__init__(*args, **options)
        priced = set(Price.objects.in_effect().values_list("model_key", flat=True).distinct())
        models = sorted(priced | set(key.allowed_models if key else []))
        self.fields["allowed_models"].choices = [(model, model) for model in models]  # type: ignore[attr-defined]

    def clean_expires_on(self) -> Any:
        """Refuse a day that is over."""
        day = self.cleaned_data["expires_on"]
        if day is not None and day < timezone.localdate() and "expires_on" in self.changed_data:
            raise forms.ValidationError(_("That day is over."))
        if day is not None and day > timezone.localdate() + LONGEST_LIFE:
            raise forms.ValidationError(_("Choose a day within ten years, or none."))
        return day

    @property
    def settings(self) -> dict[str, Any]:
        """What the form says, as `accounts.api_keys` takes it."""
        cleaned = self.cleaned_data
        return {
            "name": cleaned["name"],
            "scopes": cleaned["scopes"],
            "allowed_models": cleaned["allowed_models"],
            "monthly_cap_microcredits": cleaned["cap"],
            "expires_at": self._expires_at(),
        }

    def _expires_at(self) -> datetime | None:
        """The end of the chosen day. A day that was not changed keeps its moment, which a program may have set."""
        if self.key is not None and "expires_on" not in self.changed_data:
            return self.key.expires_at
        day = self.cleaned_data["expires_on"]
        return None if day is None else timezone.make_aware(datetime.combine(day, time.max))


class NewKeyForm(KeyForm):
    """The form of a new key. `form_id` is the same when a browser sends it twice."""

    form_id = forms.UUIDField(widget=forms.HiddenInput)

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.initial["form_id"] = uuid4()


class RotateForm(forms.Form):
    """For how long the text before goes on."""

    overlap = forms.TypedChoiceField(
        label=gettext_lazy("The text it has now works for"),
        choices=[
            (0, gettext_lazy("no longer")),
            (3600, gettext_lazy("another hour")),
            (86_400, gettext_lazy("another day")),
            (7 * 86_400, gettext_lazy("another week")),
        ],
        coerce=int,
        initial=86_400,
        widget=forms.Select(attrs={"class": "field"}),
    )


def _initial(key: ApiKey) -> dict[str, Any]:
    return {
        "name": key.name,
        "scopes": key.scopes,
        "allowed_models": key.allowed_models,
        "cap": key.monthly_cap_microcredits,
        "expires_on": timezone.localtime(key.expires_at).date() if key.expires_at else None,
    }
