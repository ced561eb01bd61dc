"""Rounds of the alerts at times that a test chooses, and what became of one alert."""

import datetime as dt
from contextlib import contextmanager
from unittest import mock

from django.utils import timezone

from accounts.models import OutgoingMail
from monitoring.alerts.rounds import go_round
from monitoring.models import Alert

_real_now = timezone.now


@contextmanager
def later(seconds):
    """As if so many seconds had passed; PostgreSQL's own clock stays."""
    passed = dt.timedelta(seconds=seconds)
    with mock.patch("django.utils.timezone.now", side_effect=lambda: _real_now() + passed):
        yield


def go(seconds=0.0, *, by_beat=True):
    """A round at that time, which must be done."""
    with later(seconds):
        assert go_round(is_asked_by_beat=by_beat)


def states(rule, about=None):
    """The states of the alerts of this rule, the oldest first."""
    found = Alert.objects.filter(rule=rule).order_by("pk")
    return list((found if about is None else found.filter(about=about)).values_list("state", flat=True))


def subjects(words):
    """The subjects of the mails that have these words."""
    return list(OutgoingMail.objects.filter(subject__contains=words).order_by("pk").values_list("subject", flat=True))
