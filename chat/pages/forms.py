"""The forms of the chat pages: a new message, and a retry."""

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from inference.models import CatalogueModel
from inference.prompting.showable import showable


class WordsField(forms.CharField):
    """A text field that removes characters which cannot be shown. It keeps blanks."""

    def to_python(self, value: Any) -> str:
        """Remove these characters here, before Django's validator refuses a NUL."""
        return showable(super().to_python(value) or "")


class MessageForm(forms.Form):
    """A prompt, the model that answers it, and the idempotency key that makes a double click harmless."""

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


class RetryForm(forms.Form):
    """The idempotency key that makes a double click harmless."""

    idempotency_key = forms.UUIDField()
