"""Giving up an answer that does not end, by staff: its hold is released, and it costs nothing.

Usually `endings.sweep_generations` does this by itself, within a minute. Staff do it when that does not run, or does
not dare to, because the database was away (`heartbeats`).
"""

from datetime import timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import Q, QuerySet
from django.db.models.functions import Now
from django.utils.translation import gettext as _

from accounts import audit
from accounts.models import User
from inference.generations.endings import fail_generation
from inference.models import Generation, GenerationState
from inference.relay import streams, writer

PERMISSION = "inference.release_generation"

IS_STUCK = """(
    g.state = 'running' AND g.heartbeat_at < clock_timestamp() - make_interval(secs => {silent})
    OR g.state = 'queued' AND g.created_at < clock_timestamp() - make_interval(secs => {waited}))"""


class ReleaseRefused(Exception):
    """The answer is not stuck, or has ended; the message says which. Nothing was changed."""


def stuck() -> QuerySet[Generation]:
    """The answers that should have ended: their worker is silent, or nobody took them from the queue for too long."""
    silent_since = Now() - timedelta(seconds=settings.WORKER_SILENT_SECONDS)
    waiting_since = Now() - timedelta(seconds=_longest_wait())
    running = Q(state=GenerationState.RUNNING, heartbeat_at__lt=silent_since)
    return Generation.objects.live().filter(running | Q(state=GenerationState.QUEUED, created_at__lt=waiting_since))


@transaction.atomic
def release_stuck(*, generation_id: UUID, by: User, reason: str, note: str = "") -> Generation:
    """End a stuck answer and release its hold; it costs nothing. The audit log records who did it and why.

    Raises ReleaseRefused if it is not stuck any more. A second call finds that it has ended.
    """
    text, tokens = streams.read_text(generation_id)
    condition = IS_STUCK.format(silent=float(settings.WORKER_SILENT_SECONDS), waited=_longest_wait())
    ended = fail_generation(
        generation_id=generation_id,
        error=_("It was given up by our staff."),
        text=text,
        completion_tokens=tokens,
        condition=condition,
    )
    if ended is None:
        raise ReleaseRefused(_("This answer is not stuck: it has ended, or its worker is at it."))
    said: dict[str, Any] = {"note": note} if note else {}
    audit.record(
        actor=by, action="answer released", subject=ended.user, generation=generation_id, reason=reason, **said
    )
    transaction.on_commit(lambda: writer.RelayWriter(generation_id).end(GenerationState.FAILED), robust=True)
    return ended


def _longest_wait() -> float:
    """Seconds after which even an answer that waits for an identical one should have left the queue."""
    return float(settings.QUEUE_WAIT_SECONDS + settings.GENERATION_SECONDS)
