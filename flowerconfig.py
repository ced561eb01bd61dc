"""What `celery flower` runs at its start in this folder; from elsewhere, name this file with `--conf`.

Flower takes its options from the names that this file sets.
"""

import os
from pathlib import Path

import django

django.setup()

from monitoring.flower_log_in import limit_wrong_tries  # noqa: E402  it wants the apps

limit_wrong_tries()

if file := os.environ.get("FLOWER_BASIC_AUTH_FILE"):  # as for settings: a secret need not stand in the environment
    basic_auth = [Path(file).read_text().strip()]
