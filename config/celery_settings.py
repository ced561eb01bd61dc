"""What Celery is configured with: the settings that begin with CELERY_, and nothing else of Django's.

Workers tell their whole configuration to whoever asks, Flower's pages among them. So it has no secret but the address
of the broker, which Celery itself leaves out of what it tells.
"""

from django.conf import settings

PREFIX = "CELERY_"

globals().update(
    {name.removeprefix(PREFIX).lower(): getattr(settings, name) for name in dir(settings) if name.startswith(PREFIX)}
)
