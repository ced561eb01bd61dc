"""The forms of the chat pages: a new or edited message, another version of an answer, and a mark."""

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from chat.branches import Place
from chat.models import Rating
from inference.models import CatalogueModel
from inference.prompting.showable import showable


class WordsField(forms.CharField):
    """A text field that removes characters which cannot be shown. It keeps blanks."""

    def to_python(self, value: Any) -> str:
        """Remove these characters here, before Django's validator refuses a NUL."""
        return showable(super().to_python(value) or "")


class MessageForm(forms.Form):
    """A prompt, the model that answers it, and the idempotency key that makes a double click harmless.

    `seen` is the last message on the page. `in_place_of` is the prompt that was edited.
    """

    text = WordsField(strip=False, required=False)
    model = forms.ModelChoiceField(
        CatalogueModel.objects.offered(),
        error_messages={"invalid_choice": _("There is no such model."), "required": _("Choose a model.")},
    )
    max_tokens = forms.IntegerField(required=False, min_value=1)
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


class AgainForm(forms.Form):
    """Another model or the same, and the idempotency key that makes a double click harmless."""

    model = forms.ModelChoiceField(CatalogueModel.objects.offered(), required=False)
    idempotency_key = forms.UUIDField()


class RatingForm(forms.Form):
    """Good, bad, or neither any more."""

    rating = forms.TypedChoiceField(choices=Rating.choices, coerce=int, required=False, empty_value=None)
