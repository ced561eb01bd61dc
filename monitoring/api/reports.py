"""The reports of staff: revenue, usage, models, performance, incidents."""

from collections.abc import Callable
from typing import Any, TypeVar

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.callers.authentication import requires_permission
from accounts.callers.views import ApiView
from core.rest.schema import operation
from monitoring.reports.catalogue import KINDS
from monitoring.reports.files import as_data
from monitoring.reports.periods import MOST_DAYS, PeriodRefused, read_period

Method = TypeVar("Method", bound=Callable[..., Any])

TAG = "Staff: reports"
EXAMPLE = {
    "report": "revenue",
    "title": "Revenue",
    "period": {
        "first_day": "2026-10-01",
        "last_day": "2026-10-31",
        "time_zone": "UTC",
        "begins_at": "2026-10-01T00:00:00Z",
        "ends_at": "2026-11-01T00:00:00Z",
        "is_running": False,
    },
    "made_at": "2026-11-29T03:12:00Z",
    "tables": [
        {
            "key": "flow",
            "title": "From what we owed to what we owe",
            "columns": [
                {"key": "what", "title": "What", "unit": "text"},
                {"key": "entries", "title": "Entries", "unit": "count"},
                {"key": "amount_microcredits", "title": "Credits", "unit": "microcredits"},
            ],
            "first": {"key": "opening", "what": "Unspent credits at the beginning", "amount_microcredits": 0},
            "rows": [{"key": "sold", "what": "Sold", "entries": 612, "amount_microcredits": 1_486_500_000_000}],
            "last": {
                "key": "closing",
                "what": "Unspent credits at the end (our liability)",
                "entries": 612,
                "amount_microcredits": 1_486_500_000_000,
            },
        }
    ],
    "reconciliation": {
        "is_good": True,
        "text": "Reconciled: difference 0.000000 credits. …",
        "figures": {"entries": 612, "difference_microcredits": 0},
    },
}


@extend_schema_field(OpenApiTypes.DATE)
class Day(serializers.CharField):
    """A day as text; `read_period` says what is wrong with one."""


class ReportQuery(serializers.Serializer[Any]):
    """From which day to which."""

    to = Day(required=False, help_text="The last day, included; today unless you say.")

    def get_fields(self) -> dict[str, Any]:
        """With `from`, which cannot be an attribute in Python."""
        text = f"The first day, in the reports' time zone; that of the month unless you say. {MOST_DAYS} days at most."
        return {"from": Day(required=False, help_text=text), **super().get_fields()}


class ReportPeriodOut(serializers.Serializer[Any]):
    """Whole days of the reports' time zone."""

    first_day = serializers.DateField()
    last_day = serializers.DateField(help_text="Included.")
    time_zone = serializers.CharField(help_text="The setting REPORTING_TIME_ZONE.")
    begins_at = serializers.DateTimeField()
    ends_at = serializers.DateTimeField(help_text="The first moment after it.")
    is_running = serializers.BooleanField(help_text="Whether it has not ended yet: then figures are those of now.")


class ReportColumnOut(serializers.Serializer[Any]):
    """One column of a table."""

    key = serializers.CharField()
    title = serializers.CharField()
    unit = serializers.ChoiceField(
        choices=["text", "count", "microcredits", "minor", "seconds", "percent", "rate"],
        help_text="`minor` are smallest units of the currency in the member `currency`.",
    )


class ReportTableOut(serializers.Serializer[Any]):
    """Rows with a member for each column; null where nothing is known."""

    key = serializers.CharField()
    title = serializers.CharField()
    columns = ReportColumnOut(many=True)
    first = serializers.DictField(allow_null=True, help_text="What stood before the rows.")
    rows = serializers.ListField(child=serializers.DictField())
    last = serializers.DictField(allow_null=True, help_text="The sum of the rows.")


class ReconciliationOut(serializers.Serializer[Any]):
    """How the report agrees with the ledger."""

    is_good = serializers.BooleanField()
    text = serializers.CharField()
    figures = serializers.DictField(child=serializers.IntegerField(), help_text="Microcredits and numbers of entries.")


class ReportOut(serializers.Serializer[Any]):
    """A report: the tables that its page shows."""

    report = serializers.CharField()
    title = serializers.CharField()
    period = ReportPeriodOut()
    made_at = serializers.DateTimeField()
    tables = ReportTableOut(many=True)
    reconciliation = ReconciliationOut()


class ReportView(ApiView):
    """One of the reports."""

    name = ""

    def answer(self) -> Response:
        """Make the report of the days in the query string. Raises ValidationError, which becomes a 400."""
        asked = self.read_query(ReportQuery)
        try:
            period = read_period(asked.get("from", ""), asked.get("to", ""))
        except PeriodRefused as refused:
            raise ValidationError({refused.field: [str(refused)]}) from refused
        return Response(as_data(KINDS[self.name].make(period)))


def documented(summary: str) -> Callable[[Method], Method]:
    """How a report is documented."""
    return operation(tag=TAG, summary=summary, answer=ReportOut, example=EXAMPLE, parameters=[ReportQuery])


class Revenue(ReportView):
    """The report of revenue."""

    permission_classes = (requires_permission(KINDS["revenue"].permission),)
    name = "revenue"

    @documented("Report revenue")
    def get(self, _request: Request) -> Response:
        """Credits sold, given, spent, refunded, taken back and expired in a period, what customers own unspent at both
        ends of it, and the money. It reconciles with all balances to the microcredit, or says by how much it does not.
        """
        return self.answer()


class Usage(ReportView):
    """The report of usage."""

    permission_classes = (requires_permission(KINDS["usage"].permission),)
    name = "usage"

    @documented("Report usage")
    def get(self, _request: Request) -> Response:
        """Answers, tokens and charges by day (by month in a long period) and by model, over all customers."""
        return self.answer()


class Models(ReportView):
    """The report of models."""

    permission_classes = (requires_permission(KINDS["models"].permission),)
    name = "models"

    @documented("Report models")
    def get(self, _request: Request) -> Response:
        """For each model its answers, those from the cache, failed and cancelled, its charges and refunds."""
        return self.answer()


class Performance(ReportView):
    """The report of performance."""

    permission_classes = (requires_permission(KINDS["performance"].permission),)
    name = "performance"

    @documented("Report performance")
    def get(self, _request: Request) -> Response:
        """How long answers took: percentiles of all answers of the period together, from mergeable histograms."""
        return self.answer()


class Incidents(ReportView):
    """The report of incidents."""

    permission_classes = (requires_permission(KINDS["incidents"].permission),)
    name = "incidents"

    @documented("Report incidents")
    def get(self, _request: Request) -> Response:
        """Proofs of the ledger that found faults, and answers that failed, by reason."""
        return self.answer()
