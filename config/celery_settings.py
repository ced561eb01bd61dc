"""Celery's configuration: only those of Django's settings that begin with CELERY_.

A worker reports its whole configuration to every client that asks, such as Flower's pages. So it must contain no
secret except the broker's URL, which Celery leaves out of its reports.
"""

from django.conf import settings

PREFIX = "CELERY_"

globals().update(
    {name.removeprefix(PREFIX).lower(): getattr(settings, name) for name in dir(settings) if name.startswith(PREFIX)}
)
