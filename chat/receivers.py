"""What chat does when a generation ends, and when an account is closed."""

from typing import Any

from django.dispatch import receiver

from accounts.closing import account_closing
from accounts.models import User
from chat.models import Conversation, Message
from inference.models import Generation
from inference.services import generation_ended


@receiver(generation_ended, dispatch_uid="chat.save_answer")
def save_answer(generation: Generation, **_kwargs: Any) -> None:
    """Put the final text into the message, in the transaction that settles it."""
    Message.objects.filter(generation=generation).update(text=generation.text)


@receiver(account_closing, dispatch_uid="chat.erase_conversations")
def erase_conversations(user: User, **_kwargs: Any) -> None:
    """Delete what was said."""
    Conversation.objects.filter(user=user).delete()
