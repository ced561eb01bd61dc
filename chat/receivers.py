"""What chat does when a generation ends or an account is closed."""

from typing import Any

from django.db import connection
from django.dispatch import receiver

from accounts.closing import account_closing
from accounts.models import User
from chat.models import Conversation, SavedPrompt
from inference.generations.endings import generation_ended
from inference.models import Generation

SAVE_TEXT = "UPDATE chat_message SET text = %s WHERE generation_id = %s"


@receiver(generation_ended, dispatch_uid="chat.save_answer")
def save_answer(generation: Generation, **_kwargs: Any) -> None:
    """Write the final text into the message, in the transaction that settles the charge. In SQL (docs/adr/0010)."""
    if generation.is_for_a_program:
        return
    with connection.cursor() as cursor:
        cursor.execute(SAVE_TEXT, [generation.text, generation.pk])


@receiver(account_closing, dispatch_uid="chat.erase_conversations")
def erase_conversations(user: User, **_kwargs: Any) -> None:
    """Delete the user's conversations with their messages, and the saved system prompts."""
    Conversation.objects.filter(user=user).delete()
    SavedPrompt.objects.filter(user=user).delete()
