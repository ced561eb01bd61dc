"""The forms of the catalogue in the admin: one adds a model from its source, one changes a row."""

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from billing.ledger.prices import current_price_tags
from inference.models import CatalogueModel
from inference.weights.new_models import ModelRefused, Plan, Wishes, plan_model


class AddModelForm(forms.ModelForm[CatalogueModel]):
    """An operator's entries for a new model. The rest is read from the model's files; a refusal says the reason."""

    class Meta:
        model = CatalogueModel
        fields = ("key", "source", "name", "description", "context_tokens", "max_completion_tokens", "prompt_format")
        help_texts = {
            "source": _("A hub id, such as google/gemma-3-4b-it, or a folder on this machine."),
            "context_tokens": _("At most the model's own, which is taken when this is empty."),
            "prompt_format": _("Empty: its own chat template if it has one, else a transcript."),
        }

    plan: Plan

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        for name in ("name", "context_tokens", "max_completion_tokens", "prompt_format"):
            self.fields[name].required = False
        self.fields["prompt_format"].initial = ""
        self.fields["prompt_format"].choices = [("", _("as its files say")), *self.fields["prompt_format"].choices]  # type: ignore[attr-defined]

    def clean(self) -> dict[str, Any]:
        """Plan the model from its files, so that this form shows what is wrong with them."""
        fields = super().clean() or self.cleaned_data
        if not self.errors:
            try:
                self.plan = plan_model(Wishes(**{name: fields[name] for name in self.Meta.fields}))
            except ModelRefused as error:
                self.add_error(None, str(error))
        return fields


class ChangeModelForm(forms.ModelForm[CatalogueModel]):
    """Changes a row of the catalogue. A model without a price cannot be activated."""

    class Meta:
        model = CatalogueModel
        fields = (
            "name",
            "description",
            "source",
            "context_tokens",
            "max_completion_tokens",
            "prompt_format",
            "is_active",
            "position",
        )

    def clean_is_active(self) -> bool:
        """Refuse to activate a model that has no price."""
        is_active: bool = self.cleaned_data["is_active"]
        if is_active and not current_price_tags([self.instance.key]):
            raise forms.ValidationError(_("It has no price yet. Add a price version first, then activate it."))
        return is_active
