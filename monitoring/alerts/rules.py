"""The rules of the alerts: how bad each is, how long its reason must hold, and where docs/operations.md explains it."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.utils.text import slugify
from django.utils.translation import gettext_lazy as _

AT_ONCE, SHORTLY, LATER = timedelta(0), timedelta(minutes=1), timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. `opens_after` is how long its reason must hold before an alert opens.

    `part` names the part of the overview that tells of it: while that cannot be read, its alerts stay as they are.
    `title` may name what it is about, such as a model.
    """

    name: str
    title: Any
    part: str
    heading: str
    is_critical: bool = False
    opens_after: timedelta = AT_ONCE

    @property
    def anchor(self) -> str:
        """The anchor of its section in docs/operations.md."""
        return slugify(self.heading)


_ALL = (
    Rule("ledger_fault", _("The ledger has a fault"), "proofs", "The ledger has a fault", is_critical=True),
    Rule("proof_overdue", _("A proof of the ledger is overdue"), "proofs", "A proof is overdue", opens_after=LATER),
    Rule("paid_not_credited", _("Paid, but not credited"), "payments", "Paid but not credited", is_critical=True),
    Rule("webhook_failing", _("Events of payments fail"), "payments", "Events of payments fail", is_critical=True),
    Rule("stuck_hold", _("Holds are stuck"), "holds", "Holds are stuck", opens_after=LATER),
    Rule("worker_silent", _("Worker {about} is silent"), "processes", "A worker is silent"),
    Rule(
        "no_worker",
        _("No worker takes answers of {about}"),
        "models",
        "No worker for a model",
        is_critical=True,
        opens_after=SHORTLY,
    ),
    Rule("queue_old", _("Answers of {about} wait too long"), "models", "Answers wait too long", opens_after=SHORTLY),
    Rule("answers_fail", _("Answers fail"), "totals", "Answers fail", is_critical=True, opens_after=LATER),
    Rule("answers_slow", _("Answers take long"), "totals", "Answers take long", opens_after=LATER),
    Rule("first_token", _("Answers begin late"), "totals", "Answers begin late", opens_after=LATER),
    Rule("memory", _("Memory of {about} runs out"), "processes", "Memory runs out", opens_after=LATER),
    Rule("disk", _("Disk of {about} runs out"), "processes", "A disk runs out", is_critical=True, opens_after=SHORTLY),
    Rule("gpu_heat", _("GPU too hot: {about}"), "processes", "A GPU is too hot", opens_after=SHORTLY),
    Rule("redis_evicting", _("Redis throws data away"), "redis", "Redis throws data away", is_critical=True),
    Rule("connections", _("Database connections run out"), "server", "Database connections run out", opens_after=LATER),
    Rule("beat_silent", _("Beat is silent"), "mark", "Beat is silent", is_critical=True),
    Rule("certificate", _("The certificate nears its end"), "mark", "The certificate nears its end"),
    Rule("backup_overdue", _("A backup is overdue"), "mark", "A backup is overdue"),
    Rule("unread", _("Something cannot be read"), "", "Metrics are missing", is_critical=True, opens_after=SHORTLY),
)
RULES = {rule.name: rule for rule in _ALL}
