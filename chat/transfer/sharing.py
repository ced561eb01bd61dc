"""Links with which anybody reads a conversation, as it was when it was shared."""

import secrets
from datetime import timedelta
from uuid import UUID

from django.db import transaction
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.translation import gettext as _

from chat.branches import read_branches
from chat.messages import lock_conversation
from chat.models import Conversation, Message, SharedLink
from inference.models import Generation

TOKEN_BYTES = 32  # 256 bits: nobody guesses a link
MOST_LINKS = 100  # of one conversation that can be read at once
MOST_READ = 200  # messages that the page of a link shows, the latest
DAYS = (7, 30)  # after which a link may expire; or never


class NothingToShare(Exception):
    """The conversation has no message that could be shown, or has too many links. The message tells a customer."""


@transaction.atomic
def share_conversation(*, conversation: Conversation, days: int | None, key: UUID) -> SharedLink:
    """Make a link to the branch that is shown, up to its last finished message. It expires after so many days.

    A repeated call with the same key returns the link of the first. Raises NothingToShare, and MessageGone if the
    conversation was deleted meanwhile.
    """
    locked = lock_conversation(conversation.pk)
    if (earlier := SharedLink.objects.filter(conversation=locked, key=key).first()) is not None:
        return earlier
    if SharedLink.objects.open().filter(conversation=locked).count() >= MOST_LINKS:
        raise NothingToShare(
            _("There are {most} links to this conversation. Revoke one first.").format(most=MOST_LINKS)
        )
    live = set(Generation.objects.live().filter(message__conversation=locked).values_list("message", flat=True))
    message_ids = [pk for pk in read_branches(locked).path() if pk not in live]
    if not message_ids:
        raise NothingToShare(_("There is nothing in this conversation yet."))
    return SharedLink.objects.create(
        token=secrets.token_urlsafe(TOKEN_BYTES),
        key=key,
        conversation=locked,
        title=locked.title,
        message_ids=message_ids,
        expires_at=timezone.now() + timedelta(days=days) if days else None,
    )


def revoke_link(*, link: SharedLink) -> None:
    """Let nobody read it any more; again, nothing happens."""
    SharedLink.objects.filter(pk=link.pk, revoked_at=None).update(revoked_at=Now())


def read_shared_messages(link: SharedLink) -> list[Message]:
    """The last MOST_READ messages that the link shows, in one query. Messages that were deleted since are missing."""
    message_ids = link.message_ids[-MOST_READ:]
    messages = Message.objects.filter(conversation=link.conversation_id).select_related("generation__model")
    found = messages.in_bulk(message_ids)
    return [found[pk] for pk in message_ids if pk in found]
