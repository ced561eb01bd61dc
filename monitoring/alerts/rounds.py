"""A round: look at the figures, judge them, and bring the alerts up to date. Beat's task does it every half minute.

If beat is silent, the processes that report (`monitoring.alerts.watching`) do it instead. So alerts are opened, told
and closed also without beat, and somebody other than beat sees that it is silent.
"""

from datetime import timedelta

from django.utils import timezone, translation

from monitoring.alerts.judging import is_unknown, judge
from monitoring.alerts.states import follow
from monitoring.models import AlertRound
from monitoring.overview import look
from monitoring.totals.adding import limited_transaction

ROUND_SECONDS = 30.0


def go_round(*, is_asked_by_beat: bool) -> bool:
    """Do a round, unless another process does one or has just done it. Returns whether it was done.

    Raises DatabaseError if the tables of alerts are locked or the database is too slow; then nothing has changed.
    """
    with limited_transaction():
        AlertRound.objects.get_or_create(pk=1)
        if is_asked_by_beat:
            AlertRound.objects.update(beat_at=timezone.now())
    with translation.override(None):  # what alerts keep is in English, whoever reads it later
        overview = look()
        findings = judge(overview)
        with limited_transaction():
            now = timezone.now()
            mark = AlertRound.objects.select_for_update(skip_locked=True).first()
            if mark is None or (mark.done_at and now - mark.done_at < timedelta(seconds=ROUND_SECONDS / 2)):
                return False
            follow(findings, is_unknown=lambda rule: is_unknown(rule, overview), now=now)
            mark.done_at = now
            mark.redis_evicted |= overview.redis_evicted or {}
            mark.save(update_fields=["done_at", "redis_evicted"])
    return True


def is_beat_silent(limit_seconds: float) -> bool:
    """Whether beat has asked for no round for so long, counted from the first call if it never did.

    Raises DatabaseError.
    """
    with limited_transaction():
        mark, _created = AlertRound.objects.get_or_create(pk=1)
        return timezone.now() - (mark.beat_at or mark.began_at) > timedelta(seconds=limit_seconds)
