"""Scrapes."""

from tests.monitoring.prometheus.reading import scrape  # noqa: F401  a fixture
