"""What chat does when a generation ends."""

from typing import Any

from django.dispatch import receiver

from chat.models import Message
from inference.models import Generation
from inference.services import generation_ended


@receiver(generation_ended, dispatch_uid="chat.save_answer")
def save_answer(generation: Generation, **_kwargs: Any) -> None:
    """Put the final text into the message, in the transaction that settles it."""
    Message.objects.filter(generation=generation).update(text=generation.text)
