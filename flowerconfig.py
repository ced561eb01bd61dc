"""What `celery flower` runs at its start in this folder; from elsewhere, name this file with `--conf`."""

import django

django.setup()

from monitoring.flower_log_in import limit_wrong_tries  # noqa: E402  it wants the apps

limit_wrong_tries()
