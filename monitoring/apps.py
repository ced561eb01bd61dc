"""Registers the app."""

from django.apps import AppConfig
from django.core.checks import register


class MonitoringConfig(AppConfig):
    """Health, metrics and alerts."""

    name = "monitoring"

    def ready(self) -> None:
        """Connect what the alerts hear of, and the check of their limits."""
        from billing.stripe.reconciliation import payments_compared
        from monitoring.alerts.checks import check_alerts
        from monitoring.alerts.kept import note_payments_compared

        register(check_alerts)
        payments_compared.connect(note_payments_compared)
