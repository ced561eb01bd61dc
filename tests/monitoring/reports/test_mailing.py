"""The report of a day is mailed once, to whom the settings name."""

from datetime import UTC, datetime

import pytest

from accounts.models import OutgoingMail
from monitoring.reports.mailing import HEADER
from monitoring.tasks import mail_report
from tests.monitoring.reports.conftest import MIDDLE, at

NEXT_DAY = datetime(2026, 10, 16, 5, tzinfo=UTC)


@pytest.fixture
def mailed(settings):
    """Call it for the mails about days."""
    settings.REPORT_MAIL_TO = ["money@example.com", "boss@example.com"]
    return lambda: list(OutgoingMail.objects.filter(headers__has_key=HEADER).order_by("pk"))


def test_yesterday_is_mailed_once(october, mailed):
    with at(NEXT_DAY):
        mail_report()
        mail_report()
    [mail] = mailed()
    assert mail.recipients == ["money@example.com", "boss@example.com"]
    assert mail.subject == "Tally, 15 October 2026: reconciled to the ledger"
    assert "Spent on answers" in mail.text
    assert "Reconciled: difference 0.000000 credits." in mail.text
    with at(NEXT_DAY.replace(day=17)):
        mail_report()
    assert len(mailed()) == 2


def test_yesterday_is_that_of_the_reports_zone(october, mailed, settings):
    settings.REPORTING_TIME_ZONE = "Pacific/Auckland"  # there it is the 16th already, in the small hours
    with at(MIDDLE):
        mail_report()
    assert mailed()[0].headers[HEADER] == "2026-10-15"


def test_nobody_is_mailed_unless_the_settings_say_who(october):
    with at(NEXT_DAY):
        mail_report()
    assert not OutgoingMail.objects.filter(headers__has_key=HEADER).exists()
