"""The settings of a conversation: its system prompt, and how its answers are drawn."""

from dataclasses import dataclass, field
from typing import Any

from django.conf import settings as site
from django.utils.translation import gettext as _

from chat.models import Conversation
from inference.generations.parameters import Parameters
from inference.prompting.prompts import InvalidPrompt
from inference.prompting.showable import showable, without_blank_ends


@dataclass(frozen=True, slots=True)
class Settings:
    """What the customer chose for a conversation.

    `chosen` holds arguments of Parameters by name, without those that are left to the model.
    """

    system_prompt: str = ""
    chosen: dict[str, Any] = field(default_factory=dict)

    def demand_valid(self) -> None:
        """Raise InvalidPrompt for a value out of range, or a system prompt that is too long."""
        Parameters(**self.chosen)
        if len(self.system_prompt) > site.PROMPT_MAX_CHARACTERS:
            raise InvalidPrompt(
                _("The system prompt has {count:,} characters; at most {limit:,} can be sent.").format(
                    count=len(self.system_prompt), limit=site.PROMPT_MAX_CHARACTERS
                )
            )

    @property
    def parameters(self) -> Parameters:
        """The parameters of a request with these settings. Raises InvalidPrompt for a value out of range."""
        return Parameters(**self.chosen)


def clean_system_prompt(text: str) -> str:
    """The text without characters that cannot be shown, and without blanks at its ends. It may be empty."""
    return without_blank_ends(showable(text))


def settings_of(conversation: Conversation | None) -> Settings:
    """What was chosen for this conversation; nothing for a new one."""
    return Settings() if conversation is None else Settings(conversation.system_prompt, conversation.parameters)
