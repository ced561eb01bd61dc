"""Refuses limits that contradict each other or the rest of Tally: with them an alert never opens, or never closes."""

from collections.abc import Iterator
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error
from django.core.exceptions import ImproperlyConfigured

from monitoring.alerts import webhook
from monitoring.alerts.rounds import ROUND_SECONDS
from monitoring.processes import REPORT_SECONDS
from monitoring.totals.metrics import FIRST_TOKEN, REQUEST_DURATION

PERCENT = ("FAILED", "MEMORY", "DISK", "CONNECTIONS")
MORE_THAN_NOTHING = ("PAYMENT_MINUTES", "QUEUE_SECONDS", "FIRST_TOKEN_SECONDS", "GPU_CELSIUS", "CERTIFICATE_DAYS")
AT_LEAST_NOTHING = ("BACKUP_HOURS", "CLOSE_SECONDS", "REMIND_SECONDS")


def check_alerts(**_kwargs: Any) -> list[CheckMessage]:
    """Django's system check."""
    return [Error(text, id="monitoring.E001") for text in find_contradictions()]


def refuse_contradictions() -> None:
    """Called when a process starts. Raises ImproperlyConfigured with everything that is wrong."""
    found = list(find_contradictions())
    if found:
        raise ImproperlyConfigured("Tally does not start with these limits of alerts:\n- " + "\n- ".join(found))


def find_contradictions() -> Iterator[str]:
    """Sentences that begin with the setting's name."""
    yield from _of_each_alone()
    yield from _of_each_other()
    yield from _of_the_webhook()


def _of_each_alone() -> Iterator[str]:
    for name in PERCENT:
        if not 0 < _of(f"{name}_PERCENT") < 100:
            yield f"ALERT_{name}_PERCENT is more than 0 and less than 100."
    for name in MORE_THAN_NOTHING:
        if not _of(name) > 0:
            yield f"ALERT_{name} is more than 0."
    for name in AT_LEAST_NOTHING:
        if not _of(name) >= 0:
            yield f"ALERT_{name} is not less than 0."


def _of_each_other() -> Iterator[str]:
    if not _of("PROOF_NEW_HOURS") > 1:
        yield "ALERT_PROOF_NEW_HOURS is more than 1: what is new is proven every hour."
    if not _of("PROOF_EVERYTHING_HOURS") > 24:
        yield "ALERT_PROOF_EVERYTHING_HOURS is more than 24: everything is proven once a day."
    if not _of("FIRST_TOKEN_SECONDS") < min(FIRST_TOKEN.bounds[-1], _of("ANSWER_SECONDS")):
        yield (
            f"ALERT_FIRST_TOKEN_SECONDS is less than ALERT_ANSWER_SECONDS, since an answer begins before it ends, and"
            f" less than {FIRST_TOKEN.bounds[-1]:g}, up to which it is measured."
        )
    if not _of("ANSWER_SECONDS") < REQUEST_DURATION.bounds[-1]:
        yield f"ALERT_ANSWER_SECONDS is less than {REQUEST_DURATION.bounds[-1]:g}, up to which it is measured."
    if not _of("QUEUE_SECONDS") < settings.QUEUE_WAIT_SECONDS:
        yield "ALERT_QUEUE_SECONDS is less than QUEUE_WAIT_SECONDS, after which an answer is given up."
    if not _of("WORKER_SILENT_SECONDS") > 2 * REPORT_SECONDS:
        yield f"ALERT_WORKER_SILENT_SECONDS is more than {2 * REPORT_SECONDS:g}: a worker reports half as often."
    if not _of("BEAT_SILENT_SECONDS") > 2 * ROUND_SECONDS:
        yield f"ALERT_BEAT_SILENT_SECONDS is more than {2 * ROUND_SECONDS:g}: beat asks every {ROUND_SECONDS:g}."


def _of_the_webhook() -> Iterator[str]:
    if not settings.ALERT_WEBHOOK_URL:
        return
    try:
        webhook.read_receiver(settings.ALERT_WEBHOOK_URL)
    except ValueError as error:
        yield f"ALERT_WEBHOOK_URL: {error}."
    try:
        webhook.read_key(settings.ALERT_WEBHOOK_SECRET)
    except ValueError as error:
        yield f"ALERT_WEBHOOK_SECRET is set with ALERT_WEBHOOK_URL: {error}."


def _of(name: str) -> float:
    value: float = getattr(settings, f"ALERT_{name}")
    return value
