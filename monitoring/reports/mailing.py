"""The report of each day by e-mail, to the addresses in REPORT_MAIL_TO."""

from django.conf import settings
from django.core.mail import EmailMessage
from django.db import connection, transaction
from django.utils.translation import gettext as _

from accounts.models import OutgoingMail
from monitoring.reports import revenue, usage
from monitoring.reports.periods import yesterday
from monitoring.reports.tables import Report
from monitoring.reports.words import as_text

HEADER = "X-Tally-Report-Of"  # its value is the day: a day that a mail in the outbox has is not mailed again
LOCK = 0x7A12  # an advisory lock: two tasks at the same moment write one mail


@transaction.atomic
def mail_yesterday() -> bool:
    """Write the mail about yesterday into the outbox; return whether there was none yet and somebody gets it.

    Called every hour, it comes soon after midnight in the reports' time zone, and later if beat was away then.
    """
    if not settings.REPORT_MAIL_TO:
        return False
    period = yesterday()
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK])
    day = period.first.isoformat()
    if OutgoingMail.objects.filter(headers__contains={HEADER: day}).exists():
        return False
    money, used = revenue.make(period), usage.make_usage(period)
    subject = _("Tally, {day}: {state}").format(day=period.name, state=_state(money, used))
    text = "\n\n\n".join([as_text(money), as_text(used)])
    EmailMessage(subject, text, to=settings.REPORT_MAIL_TO, headers={HEADER: day}).send()
    return True


def _state(*reports: Report) -> str:
    is_good = all(report.proof.is_good for report in reports)
    return _("reconciled to the ledger") if is_good else _("NOT reconciled to the ledger")
