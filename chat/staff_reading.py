"""How staff read what a customer wrote: with a reason, which the audit log keeps, one conversation at a time.

The leave to read is kept in the session of who gave the reason, and ends with it or after READING_MINUTES.
"""

import time
from collections.abc import MutableMapping
from typing import Any

from django.db import models, transaction
from django.utils.translation import gettext_lazy as _

from accounts import audit
from accounts.models import User
from chat.models import Conversation

READING_MINUTES = 15
LEAVES = "conversations_to_read"  # in the session: until when each may be read, by id, in seconds since 1970
MOST_LEAVES = 20
PERMISSION = "chat.read_conversation"


class Why(models.TextChoices):
    """Why somebody reads what a customer wrote."""

    ASKED = "asked", _("The customer asked us to look at it")
    ANSWER = "answer", _("A complaint about an answer or its price")
    ABUSE = "abuse", _("A report of abuse")
    FAULT = "fault", _("A fault of Tally that shows there")
    LAW = "law", _("A demand by law")


@transaction.atomic
def open_conversation(
    *, conversation: Conversation, by: User, why: Why, text: str, session: MutableMapping[str, Any]
) -> None:
    """Let `by` read the conversation in this session for READING_MINUTES, and record why."""
    reason = f"{why}: {text}"
    audit.record(
        actor=by, action="conversation read", subject=conversation.user, conversation=conversation.pk, reason=reason
    )
    now = time.time()
    live = {key: until for key, until in session.get(LEAVES, {}).items() if until > now}
    kept = dict(list(live.items())[-MOST_LEAVES:])
    session[LEAVES] = kept | {str(conversation.pk): now + READING_MINUTES * 60}


def seconds_left(*, conversation: Conversation, session: MutableMapping[str, Any]) -> int:
    """For how many seconds the conversation may still be read in this session; 0 where a reason is wanted."""
    until = session.get(LEAVES, {}).get(str(conversation.pk), 0)
    return max(0, int(until - time.time()))
