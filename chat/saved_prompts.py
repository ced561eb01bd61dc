"""System prompts that a customer keeps under names, to pick them for conversations."""

from django.db import IntegrityError, transaction
from django.utils.translation import gettext as _

from accounts.models import User
from chat.models import PROMPT_NAME_LENGTH, SavedPrompt
from chat.settings import Settings, clean_system_prompt
from inference.prompting.prompts import InvalidPrompt

MOST_SAVED = 50


class TooManySaved(Exception):
    """The customer keeps as many system prompts as one can."""


class NameTaken(Exception):
    """The customer has another system prompt of this name."""


@transaction.atomic
def save_prompt(*, user: User, name: str, text: str) -> SavedPrompt:
    """Keep a system prompt. Raises TooManySaved, NameTaken, and InvalidPrompt for an empty or a very long one."""
    name, text = _clean(name, text)
    User.objects.select_for_update().get(pk=user.pk)  # so that two tabs cannot pass the limit together
    if SavedPrompt.objects.filter(user=user).count() >= MOST_SAVED:
        raise TooManySaved(_("You can keep {most} system prompts. Delete another one first.").format(most=MOST_SAVED))
    prompt = SavedPrompt(user=user, name=name, text=text)
    _write(prompt)
    return prompt


def change_prompt(*, prompt: SavedPrompt, name: str, text: str) -> None:
    """Give it another name or text. Conversations that use it keep what they have. Raises NameTaken, InvalidPrompt."""
    prompt.name, prompt.text = _clean(name, text)
    _write(prompt)


def delete_prompt(*, prompt: SavedPrompt) -> None:
    """Keep it no longer. Conversations that use it keep what they have."""
    SavedPrompt.objects.filter(pk=prompt.pk).delete()


def _clean(name: str, text: str) -> tuple[str, str]:
    name, text = " ".join(clean_system_prompt(name).split()), clean_system_prompt(text)
    if not 0 < len(name) <= PROMPT_NAME_LENGTH:
        raise InvalidPrompt(_("Write a name of 1 to {most} characters.").format(most=PROMPT_NAME_LENGTH))
    if not text:
        raise InvalidPrompt(_("Write the system prompt."))
    Settings(text).demand_valid()
    return name, text


def _write(prompt: SavedPrompt) -> None:
    try:
        with transaction.atomic():
            prompt.save()
    except IntegrityError:
        raise NameTaken(_("You have another system prompt of this name.")) from None
