"""What the composer sends."""

from django import forms
from django.utils.translation import gettext_lazy as _

from inference.models import CatalogueModel


class MessageForm(forms.Form):
    """A prompt, the model to answer it, and the key that makes a double click harmless."""

    text = forms.CharField(strip=False, required=False)
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
    """The key that makes a double click harmless."""

    idempotency_key = forms.UUIDField()
