"""The reports that there are, and who may see which."""

from collections.abc import Callable
from dataclasses import dataclass

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from accounts.models import User
from monitoring.reports import incidents, performance, revenue, usage
from monitoring.reports.periods import ReportPeriod
from monitoring.reports.tables import Report


@dataclass(frozen=True, slots=True)
class Kind:
    """A report: its name in addresses, its title, what it tells, and how it is made."""

    name: str
    title: Promise
    about: Promise
    make: Callable[[ReportPeriod], Report]

    @property
    def permission(self) -> str:
        """What somebody needs to see it."""
        return f"monitoring.view_{self.name}_report"

    def is_for(self, user: User) -> bool:
        """Whether this person may see it."""
        return user.is_staff and user.has_perm(self.permission)


KINDS = {
    kind.name: kind
    for kind in (
        Kind("revenue", _("Revenue"), _("Credits from what we owed to what we owe, and the money."), revenue.make),
        Kind("usage", _("Usage"), _("Answers, tokens and credits over time."), usage.make_usage),
        Kind("models", _("Models"), _("What each model did, earned and gave back."), usage.make_models),
        Kind("performance", _("Performance"), _("How long answers took, in percentiles."), performance.make),
        Kind("incidents", _("Incidents"), _("Alerts, faults of the ledger, and answers that failed."), incidents.make),
    )
}


def kinds_for(user: User) -> list[Kind]:
    """The reports that this person may see."""
    return [kind for kind in KINDS.values() if kind.is_for(user)]
