"""What inference does when an answer ends, and when an account is closed."""

from typing import Any

from django.dispatch import receiver

from accounts.closing import account_closing
from accounts.models import User
from inference.generations import single_flight
from inference.generations.endings import generation_ended
from inference.models import AnswerLogprobs, Generation


@receiver(generation_ended, dispatch_uid="inference.note_end")
def note_end(generation: Generation, **_kwargs: Any) -> None:
    """Put the answer into the answer cache, and give it to the identical requests that wait for it."""
    single_flight.note_end(generation)


@receiver(account_closing, dispatch_uid="inference.erase_texts")
def erase_texts(user: User, **_kwargs: Any) -> None:
    """Erase the texts of the user's answers. The rows stay, since each one explains a charge."""
    AnswerLogprobs.objects.filter(generation__user=user).delete()
    Generation.objects.for_user(user).update(text="", end_user="")
