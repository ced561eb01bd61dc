"""The Celery tasks of monitoring, all on the queue `default`."""

import time

from celery import shared_task

from monitoring.reports import mailing
from monitoring.totals import samples
from monitoring.totals.adding import add_up

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
    """Delete the samples that are kept no longer."""
    samples.thin_samples()


@shared_task(name="monitoring.mail_report", queue="default", ignore_result=True)
def mail_report() -> None:
    """Mail the report of yesterday, once, if the settings name somebody who gets it."""
    mailing.mail_yesterday()
