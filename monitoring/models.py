"""The tables of monitoring: totals that only grow and their samples, processes that were heard of, and alerts."""

import uuid

from django.conf import settings
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


class ProcessReport(models.Model):
    """When a worker or the web processes of a machine were last heard of, and how their machine does.

    The row of a worker is deleted when it ends as it should. So a worker with a row that is old was killed, or hangs.
    `figures` are those of `monitoring.processes`.
    """

    name = models.CharField(max_length=200, unique=True)
    machine = models.CharField(max_length=200)
    is_worker = models.BooleanField()
    heard_at = models.DateTimeField(default=timezone.now)
    figures = models.JSONField(default=dict)

    def __str__(self) -> str:
        return self.name


class AlertRound(models.Model):
    """What the rules need to know of earlier times. One row.

    `began_at` is when the rules were first applied, `done_at` when last, `beat_at` when beat last asked for it. The
    other columns are what tasks found out that run rarely.
    """

    began_at = models.DateTimeField(default=timezone.now)
    done_at = models.DateTimeField(null=True)
    beat_at = models.DateTimeField(null=True)
    backup_at = models.DateTimeField(null=True)
    certificate_ends_at = models.DateTimeField(null=True)
    payment_differences = models.PositiveIntegerField(default=0)
    redis_evicted = models.JSONField(default=dict)

    class Meta:
        constraints = [models.CheckConstraint(name="monitoring_alert_round_is_one_row", condition=Q(pk=1))]

    def __str__(self) -> str:
        return f"round of {self.done_at}"


class AlertState(models.TextChoices):
    """PENDING until its reason has held long enough, then OPEN. RESOLVED by an operator while its reason remains."""

    PENDING = "pending", _("pending")
    OPEN = "open", _("open")
    RESOLVED = "resolved", _("resolved")
    CLOSED = "closed", _("closed")


class AlertQuerySet(models.QuerySet["Alert"]):
    """Reads of alerts."""

    def current(self) -> "AlertQuerySet":
        """Those that are not closed; of one thing there is at most one."""
        return self.exclude(state=AlertState.CLOSED)

    def open(self) -> "AlertQuerySet":
        """Those that operators should look at, the critical first, then the oldest."""
        return self.filter(state=AlertState.OPEN).order_by("-is_critical", "opened_at")

    def told(self) -> "AlertQuerySet":
        """All that have ever been open."""
        return self.filter(opened_at__isnull=False)


class Alert(models.Model):
    """Something that was wrong for a time: by which rule, and what it is about (a model, a worker).

    `over_since` is when its reason was first seen. `fine_since` is when the reason went away, if it has: the alert
    closes if it stays away. `figures` are the values of the last hour, each with its time in seconds since 1970.
    """

    rule = models.CharField(max_length=40)
    about = models.CharField(max_length=200, blank=True)
    state = models.CharField(max_length=10, choices=AlertState.choices, default=AlertState.PENDING)
    is_critical = models.BooleanField()
    detail = models.CharField(max_length=500)
    value = models.FloatField(null=True)
    limit = models.FloatField(null=True)
    figures = models.JSONField(default=list)
    over_since = models.DateTimeField()
    opened_at = models.DateTimeField(null=True)
    fine_since = models.DateTimeField(null=True)
    closed_at = models.DateTimeField(null=True)
    told_at = models.DateTimeField(null=True)
    reminded_at = models.DateTimeField(null=True)
    muted_until = models.DateTimeField(null=True)
    taken_at = models.DateTimeField(null=True)
    taken_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+")
    resolved_at = models.DateTimeField(null=True)

    objects = AlertQuerySet.as_manager()

    class Meta:
        indexes = [models.Index(name="monitoring_alert_by_time", fields=["-opened_at"])]
        constraints = [
            models.UniqueConstraint(
                name="monitoring_alert_one_at_a_time",
                fields=["rule", "about"],
                condition=~Q(state=AlertState.CLOSED),
            ),
            models.CheckConstraint(
                name="monitoring_alert_closed_has_its_time",
                condition=Q(state=AlertState.CLOSED, closed_at__isnull=False)
                | ~Q(state=AlertState.CLOSED) & Q(closed_at__isnull=True),
            ),
            models.CheckConstraint(
                name="monitoring_alert_open_has_its_time",
                condition=Q(state=AlertState.PENDING, opened_at__isnull=True)
                | ~Q(state=AlertState.PENDING) & Q(opened_at__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"alert {self.pk}: {self.rule} {self.about}"


class AlertEvent(models.Model):
    """What happened to an alert, in words. `by` is the operator who did it; the same `key` does it once."""

    alert = models.ForeignKey(Alert, on_delete=models.CASCADE, related_name="events")
    at = models.DateTimeField(default=timezone.now)
    by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+")
    text = models.CharField(max_length=1000)
    key = models.UUIDField(default=uuid.uuid4)

    class Meta:
        ordering = ["at", "pk"]
        constraints = [models.UniqueConstraint(name="monitoring_alert_event_once", fields=["alert", "key"])]

    def __str__(self) -> str:
        return self.text


class AlertDelivery(models.Model):
    """One message to the webhook. `id` is sent along, so that the receiver recognises one that comes twice.

    `due_at` is when it is tried next; it is null once it was taken or given up.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    alert = models.ForeignKey(Alert, on_delete=models.CASCADE, related_name="deliveries")
    body = models.TextField()
    created_at = models.DateTimeField(default=timezone.now)
    due_at = models.DateTimeField(null=True, default=timezone.now)
    tries_count = models.PositiveIntegerField(default=0)
    taken_at = models.DateTimeField(null=True)
    error = models.CharField(max_length=300, blank=True)

    class Meta:
        indexes = [models.Index(name="monitoring_delivery_due", fields=["due_at"], condition=Q(due_at__isnull=False))]

    def __str__(self) -> str:
        return f"delivery {self.pk}"
