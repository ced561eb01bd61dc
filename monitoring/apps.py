"""Registers the app."""

from django.apps import AppConfig


class MonitoringConfig(AppConfig):
    """Health."""

    name = "monitoring"
