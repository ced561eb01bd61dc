"""Why staff act: fixed reasons, in the manner of Stripe's, and a text beside that stands in the audit log."""

from typing import Any, cast

from django import forms
from django.db.models import TextChoices
from django.utils.translation import gettext_lazy as _

from core.admin.steps import TwoStepForm

MOST_OF_A_NOTE = 500


class MoneyReason(TextChoices):
    """Why credits or money are moved. The value is stored, and is what the customer reads."""

    DUPLICATE = "Duplicate", _("Duplicate")
    ERROR = "Charged in error", _("Charged in error")
    UNUSABLE = "Answer failed or unusable", _("Answer failed or unusable")
    REQUESTED = "Requested by the customer", _("Requested by the customer")
    GOODWILL = "Goodwill after an incident", _("Goodwill after an incident")
    FRAUDULENT = "Fraudulent", _("Fraudulent")


class AccessReason(TextChoices):
    """Why somebody is shut out, let in, or logged out. The value is stored; the customer does not read it."""

    REQUESTED = "Requested by the customer", _("Requested by the customer")
    TAKEN_OVER = "Account taken over", _("Account taken over")
    LOST = "Device lost", _("Device lost")
    ABUSE = "Against the terms", _("Against the terms")
    FRAUDULENT = "Fraudulent payments", _("Fraudulent payments")
    MISTAKE = "It was a mistake", _("It was a mistake")


class ReleaseReason(TextChoices):
    """Why an answer that does not end is given up. The value is stored; the customer does not read it."""

    WORKER = "Its worker stopped", _("Its worker stopped")
    QUEUE = "Nobody takes it from the queue", _("Nobody takes it from the queue")
    REQUESTED = "Requested by the customer", _("Requested by the customer")


class ReasonedForm(TwoStepForm):
    """Asks why, in the first step: one of `reasons`, and words of one's own for the audit log."""

    reasons: type[TextChoices] = MoneyReason

    reason = forms.ChoiceField(label=_("Why"), widget=forms.RadioSelect)
    note = forms.CharField(
        label=_("In your words, for the audit log"),
        required=False,
        max_length=MOST_OF_A_NOTE,
        widget=forms.Textarea(attrs={"class": "vLargeTextField", "rows": 3, "dir": "auto"}),
        help_text=_("The customer does not see it."),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        cast(forms.ChoiceField, self.fields["reason"]).choices = self.reasons.choices
