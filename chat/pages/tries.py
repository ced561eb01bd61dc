"""The examples on the page of a new chat."""

from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext_lazy as _


@dataclass(frozen=True, slots=True)
class Try:
    """An example: its icon, what it is called, and the prompt that a click writes."""

    icon: str
    title: Any
    prompt: Any


TRIES = (
    Try("mail", _("Write a gentle no to a meeting"), _("Write a gentle no to a meeting invitation.")),
    Try("bulb", _("Explain rain to a child"), _("Explain to a child why it rains.")),
    Try("code", _("Read a file in Python"), _("How do I read a file line by line in Python?")),
)
