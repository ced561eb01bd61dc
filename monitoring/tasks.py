"""The Celery tasks of monitoring, on the queue `default`; those that wait for other people's servers on `mail`."""

import logging
import time

from celery import shared_task
from django.conf import settings

from monitoring.alerts import certificate, kept
from monitoring.alerts.delivery import deliver_due
from monitoring.alerts.rounds import go_round
from monitoring.reports import mailing
from monitoring.totals import samples
from monitoring.totals.adding import add_up

logger = logging.getLogger(__name__)

MOST_SECONDS = 8.0  # less than until the next time


@shared_task(name="monitoring.add_up", queue="default", ignore_result=True)
def add_up_totals() -> None:
    """Add what is new to the totals, so that a scrape finds little to do, and take a sample of them."""
    began = time.monotonic()
    while add_up() and time.monotonic() - began < MOST_SECONDS:
        pass
    samples.take_sample()


@shared_task(name="monitoring.thin_samples", queue="default", ignore_result=True)
def thin_samples() -> None:
    """Delete the samples, alerts and reports that are kept no longer."""
    samples.thin_samples()


@shared_task(name="monitoring.mail_report", queue="default", ignore_result=True)
def mail_report() -> None:
    """Mail the report of yesterday, once, if the settings name somebody who gets it."""
    mailing.mail_yesterday()

    kept.delete_old()


@shared_task(name="monitoring.go_round", queue="default", ignore_result=True)
def apply_rules() -> None:
    """Apply the rules of the alerts."""
    go_round(is_asked_by_beat=True)


@shared_task(name="monitoring.deliver_alerts", queue="mail", ignore_result=True)
def deliver_alerts() -> None:
    """Send the webhook what is due."""
    deliver_due()


@shared_task(name="monitoring.look_at_certificate", queue="mail", ignore_result=True)
def look_at_certificate() -> None:
    """Note until when the site's certificate is valid."""
    try:
        kept.note_certificate(certificate.read_end(settings.PUBLIC_URL))
    except OSError as error:
        logger.warning("the certificate of %s cannot be seen: %s", settings.PUBLIC_URL, error)
