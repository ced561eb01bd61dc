"""The tables of monitoring: totals that only grow, how far they are added up, and samples; permissions of reports."""

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _


class Total(models.Model):
    """A counter or a histogram since Tally was installed. `monitoring.totals` writes and reads it.

    `labels` are the values of the metric's labels, in its order. A counter has only `amount`. A histogram has in
    `amount` how many values it took, in `total` their sum (`Metric.parts_of_one`), and in
    `buckets` how many lie in each bucket by itself.
    """

    name = models.CharField(max_length=60)
    labels = ArrayField(models.CharField(max_length=100), default=list)
    amount = models.BigIntegerField(default=0)
    total = models.BigIntegerField(default=0)
    buckets = ArrayField(models.BigIntegerField(), default=list)

    class Meta:
        constraints = [
            models.UniqueConstraint(name="monitoring_total_one_a_series", fields=["name", "labels"]),
            models.CheckConstraint(name="monitoring_total_only_grows_from_zero", condition=Q(amount__gte=0)),
        ]

    def __str__(self) -> str:
        return f"{self.name} {self.labels}"


class TotalsMark(models.Model):
    """How far the totals have been added up. One row.

    The first three are the place in the ledger (`billing.reporting.new_entries.Place`). Answers that ended without a
    charge are in the totals if they ended before `uncharged_until`.
    """

    settled = models.BigIntegerField(default=0)
    seen = models.BigIntegerField(default=0)
    transaction = models.BigIntegerField(default=0)
    uncharged_until = models.DateTimeField(null=True)
    added_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [models.CheckConstraint(name="monitoring_totals_mark_is_one_row", condition=Q(pk=1))]

    def __str__(self) -> str:
        return f"totals up to entry {self.settled}"


class Sample(models.Model):
    """All totals at one moment (`monitoring.totals.samples`). What happened between two moments is their difference.

    A sample is kept for longer the greater its `resolution_seconds` is. `totals` is a list of series, each with the
    name of its metric, its labels, its amount, its total and its buckets.
    """

    taken_at = models.DateTimeField(default=timezone.now, unique=True)
    resolution_seconds = models.PositiveIntegerField()
    totals = models.JSONField()

    class Meta:
        indexes = [models.Index(name="monitoring_sample_to_thin", fields=["resolution_seconds", "taken_at"])]

    def __str__(self) -> str:
        return f"sample of {self.taken_at:%Y-%m-%d %H:%M:%S}"


class Report(models.Model):
    """No table: the permissions of the reports, one for each (`monitoring.reports`)."""

    class Meta:
        managed = False
        default_permissions = ()
        permissions = [
            ("view_revenue_report", _("Can see the report of revenue")),
            ("view_usage_report", _("Can see the report of usage")),
            ("view_models_report", _("Can see the report of models")),
            ("view_performance_report", _("Can see the report of performance")),
            ("view_incidents_report", _("Can see the report of incidents")),
        ]

    def __str__(self) -> str:
        return "a report"
