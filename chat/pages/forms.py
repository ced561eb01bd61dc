"""The forms of the chat pages: settings of a conversation, a message, another version of an answer, and a mark."""

from collections.abc import Iterator
from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from chat.branches import Place
from chat.models import Rating
from chat.settings import Settings, clean_system_prompt
from inference.engine.base import MAX_REPETITION_PENALTY, MAX_TOP_K
from inference.models import CatalogueModel
from inference.prompting.showable import showable


class WordsField(forms.CharField):
    """A text field that removes characters which cannot be shown. It keeps blanks."""

    def to_python(self, value: Any) -> str:
        """Remove these characters here, before Django's validator refuses a NUL."""
        return showable(super().to_python(value) or "")


def _number(label: Any, help_text: Any, *, least: float, most: float, step: str) -> forms.FloatField:
    widget = forms.NumberInput(attrs={"class": "field num", "step": step, "inputmode": "decimal"})
    return forms.FloatField(
        required=False, label=label, help_text=help_text, min_value=least, max_value=most, widget=widget
    )


def _whole(label: Any, help_text: Any, *, most: int, least: int = 1) -> forms.IntegerField:
    widget = forms.NumberInput(attrs={"class": "field num", "inputmode": "numeric"})
    return forms.IntegerField(
        required=False, label=label, help_text=help_text, min_value=least, max_value=most, widget=widget
    )


NUMBERS = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty", "max_tokens", "seed")


class SettingsForm(forms.Form):
    """The settings of a conversation. An empty number is left to the model."""

    system_prompt = WordsField(
        required=False,
        label=_("System prompt"),
        help_text=_("What the model is told before the first message: who it is, how it answers."),
        widget=forms.Textarea(attrs={"class": "field", "rows": 2, "dir": "auto"}),
    )
    temperature = _number(
        _("Temperature"), _("0 always takes the likeliest word; 1.5 is free."), least=0, most=2, step="any"
    )
    top_p = _number(
        _("Top-p"), _("Draws from the likeliest words that together have this share."), least=0, most=1, step="any"
    )
    top_k = _whole(_("Top-k"), _("Draws from so many of the likeliest words."), most=MAX_TOP_K)
    min_p = _number(
        _("Min-p"), _("Leaves out words below this share of the likeliest one."), least=0, most=1, step="any"
    )
    repetition_penalty = _number(
        _("Repetition penalty"),
        _("Above 1, words that were just used become rarer."),
        least=1,
        most=MAX_REPETITION_PENALTY,
        step="any",
    )
    max_tokens = _whole(
        _("Longest answer"), _("In tokens, of about four letters. It limits the price too."), most=2**31 - 1
    )
    seed = _whole(_("Seed"), _("With the same number, the same prompt is answered alike."), least=0, most=2**31 - 1)

    def show_defaults(self, defaults: dict[str, Any]) -> None:
        """Show in each empty number what it is if the customer leaves it to the model."""
        for name, default in defaults.items():
            self.fields[name].widget.attrs["placeholder"] = default

    def numbers(self) -> Iterator[forms.BoundField]:
        """The fields of the parameters."""
        return (self[name] for name in NUMBERS)

    def settings(self) -> Settings:
        """The settings of a valid form. Raises InvalidPrompt."""
        chosen = {name: self.cleaned_data[name] for name in NUMBERS if self.cleaned_data[name] is not None}
        settings = Settings(clean_system_prompt(self.cleaned_data["system_prompt"]), chosen)
        settings.demand_valid()
        return settings


class MessageForm(SettingsForm):
    """A prompt, the model that answers it, and the idempotency key that makes a double click harmless.

    `seen` is the last message on the page. `in_place_of` is the prompt that was edited. A form without settings leaves
    the conversation its own.
    """

    text = WordsField(strip=False, required=False)
    model = forms.ModelChoiceField(
        CatalogueModel.objects.offered(),
        error_messages={"invalid_choice": _("There is no such model."), "required": _("Choose a model.")},
    )
    idempotency_key = forms.UUIDField(
        error_messages={
            "required": _("This form is broken. Reload the page."),
            "invalid": _("This form is broken. Reload the page."),
        }
    )

    seen = forms.IntegerField(required=False)
    in_place_of = forms.IntegerField(required=False)

    @property
    def place(self) -> Place:
        """Where the prompt goes."""
        return Place(self.cleaned_data["seen"], self.cleaned_data["in_place_of"])

    @property
    def has_settings(self) -> bool:
        """Whether it was sent with settings, as the composer does, or without, as the form of an edited prompt."""
        return not SettingsForm.base_fields.keys().isdisjoint(self.data)

    def first_error(self) -> str:
        """What is wrong with an invalid form; an error of a setting begins with its name."""
        name, errors = next(iter(self.errors.items()))
        is_setting = name in SettingsForm.base_fields
        return f"{self[name].label}: {errors[0]}" if is_setting else str(errors[0])


class EditForm(forms.Form):
    """A prompt that is edited, and the model that will answer it: what its cost depends on."""

    text = WordsField(strip=False, required=False)
    model = forms.ModelChoiceField(CatalogueModel.objects.offered())


class AgainForm(forms.Form):
    """Another model or the same, and the idempotency key that makes a double click harmless."""

    model = forms.ModelChoiceField(CatalogueModel.objects.offered(), required=False)
    idempotency_key = forms.UUIDField()


class RatingForm(forms.Form):
    """Good, bad, or neither any more."""

    rating = forms.TypedChoiceField(choices=Rating.choices, coerce=int, required=False, empty_value=None)
