"""The report of incidents: alerts that opened, proofs of the ledger that found faults, and answers that failed."""

from datetime import datetime

from django.utils import timezone
from django.utils.translation import gettext as _

from billing.reporting.standing import ProofsOfPeriod, read_proofs
from core.days import in_report_zone
from inference.unpaid import count_failures
from monitoring.alerts.notices import title_of
from monitoring.models import Alert
from monitoring.reports.periods import ReportPeriod
from monitoring.reports.tables import Column, Proof, Report, Table, Unit

MOST_ROWS = 100


def make(period: ReportPeriod) -> Report:
    """Make the report. Four queries."""
    proofs = read_proofs(period.begin, period.end, MOST_ROWS)
    return Report(
        name="incidents",
        title=_("Incidents"),
        period=period,
        made_at=timezone.now(),
        proof=_proof(proofs),
        tables=[_alerts(period), _faults(proofs), _failures(period)],
    )


def _alerts(period: ReportPeriod) -> Table:
    opened = Alert.objects.told().filter(opened_at__gte=period.begin, opened_at__lt=period.end)
    rows = [
        {
            "key": str(alert.pk),
            "opened": _moment(alert.opened_at),
            "closed": _moment(alert.closed_at),
            "what": title_of(alert),
            "severity": _("critical") if alert.is_critical else _("warning"),
            "detail": alert.detail,
        }
        for alert in opened.order_by("opened_at", "pk")[:MOST_ROWS]
    ]
    columns = (
        Column("opened", _("Opened")),
        Column("closed", _("Closed")),
        Column("what", _("What was wrong")),
        Column("severity", _("Severity")),
        Column("detail", _("In figures")),
    )
    return Table("alerts", _("Alerts"), columns, rows, note=_at_most(len(rows)))


def _moment(at: datetime | None) -> str:
    return f"{in_report_zone(at):%Y-%m-%d %H:%M}" if at else ""


def _faults(proofs: ProofsOfPeriod) -> Table:
    rows = [
        {
            "key": proof.started_at.isoformat(),
            "when": _moment(proof.started_at),
            "what": _("of everything") if proof.is_of_everything else _("of what was new"),
            "faults": proof.faults,
            "first_fault": first_fault,
        }
        for proof, first_fault in proofs.first_faulty
    ]
    columns = (
        Column("when", _("When")),
        Column("what", _("Proof")),
        Column("faults", _("Faults"), Unit.COUNT),
        Column("first_fault", _("The first of them")),
    )
    return Table("faults", _("Faults of the ledger"), columns, rows, note=_at_most(len(rows)))


def _failures(period: ReportPeriod) -> Table:
    failures = count_failures(period.begin, period.end, MOST_ROWS)
    rows = [
        {"key": failure.model_key, "model": failure.model_key, "reason": failure.reason, "answers": failure.answers}
        for failure in failures
    ]
    columns = (
        Column("model", _("Model")),
        Column("reason", _("Why")),
        Column("answers", _("Answers"), Unit.COUNT),
    )
    return Table("failures", _("Answers that failed"), columns, rows, note=_at_most(len(rows)))


def _at_most(rows: int) -> str:
    return _("Only the first {most} are shown.").format(most=MOST_ROWS) if rows == MOST_ROWS else ""


def _proof(proofs: ProofsOfPeriod) -> Proof:
    figures = {"proofs": proofs.proofs, "faulty_proofs": proofs.faulty}
    if not proofs.proofs:
        text = _("A proof runs each hour while beat and a proof worker do; verify_ledger makes one now.")
        return Proof(False, _("The ledger was not proven in this period."), text, figures)
    words = _("{n} proofs of the ledger began in this period, and {faulty} of them found faults.")
    heading = _("The ledger has a fault.") if proofs.faulty else _("The ledger was proven.")
    return Proof(not proofs.faulty, heading, words.format(n=proofs.proofs, faulty=proofs.faulty), figures)
