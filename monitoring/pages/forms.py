"""The forms of an alert's page."""

from uuid import uuid4

from django import forms
from django.utils.translation import gettext_lazy as _

from monitoring.alerts.actions import MUTE_HOURS, UNTIL_IT_CLOSES


class MuteForm(forms.Form):
    """For how long nothing is told."""

    how_long = forms.ChoiceField(choices=[*((hours, hours) for hours in MUTE_HOURS), (UNTIL_IT_CLOSES, "")])


class NoteForm(forms.Form):
    """A note; its key keeps a second click from writing it twice."""

    text = forms.CharField(
        label=_("Note for the others"), max_length=1000, widget=forms.TextInput({"class": "field", "dir": "auto"})
    )
    key = forms.UUIDField(widget=forms.HiddenInput, initial=uuid4)
