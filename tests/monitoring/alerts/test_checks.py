"""Limits that contradict each other are refused, by `manage.py check` and when a process starts."""

import os
import subprocess
import sys

import pytest
from django.conf import settings as django_settings
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured

from monitoring.alerts.checks import find_contradictions, refuse_contradictions

SECRET = "whsec_" + "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz"


def test_what_is_set_by_default_is_sound():
    refuse_contradictions()


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"ALERT_MEMORY_PERCENT": 0}, "ALERT_MEMORY_PERCENT"),
        ({"ALERT_DISK_PERCENT": 100}, "ALERT_DISK_PERCENT"),
        ({"ALERT_FAILED_PERCENT": -1}, "ALERT_FAILED_PERCENT"),
        ({"ALERT_CONNECTIONS_PERCENT": float("nan")}, "ALERT_CONNECTIONS_PERCENT"),
        ({"ALERT_PAYMENT_MINUTES": 0}, "ALERT_PAYMENT_MINUTES"),
        ({"ALERT_GPU_CELSIUS": 0}, "ALERT_GPU_CELSIUS"),
        ({"ALERT_CERTIFICATE_DAYS": 0}, "ALERT_CERTIFICATE_DAYS"),
        ({"ALERT_BACKUP_HOURS": -1}, "ALERT_BACKUP_HOURS"),
        ({"ALERT_CLOSE_SECONDS": -1}, "ALERT_CLOSE_SECONDS"),
        ({"ALERT_REMIND_SECONDS": -1}, "ALERT_REMIND_SECONDS"),
        ({"ALERT_PROOF_NEW_HOURS": 1}, "ALERT_PROOF_NEW_HOURS"),
        ({"ALERT_PROOF_EVERYTHING_HOURS": 24}, "ALERT_PROOF_EVERYTHING_HOURS"),
        ({"ALERT_FIRST_TOKEN_SECONDS": 9, "ALERT_ANSWER_SECONDS": 8}, "ALERT_FIRST_TOKEN_SECONDS"),
        ({"ALERT_FIRST_TOKEN_SECONDS": 11}, "up to which it is measured"),
        ({"ALERT_ANSWER_SECONDS": 90}, "ALERT_ANSWER_SECONDS"),
        ({"ALERT_QUEUE_SECONDS": 300}, "ALERT_QUEUE_SECONDS"),
        ({"ALERT_QUEUE_SECONDS": 60, "QUEUE_WAIT_SECONDS": 60}, "ALERT_QUEUE_SECONDS"),
        ({"ALERT_WORKER_SILENT_SECONDS": 30}, "ALERT_WORKER_SILENT_SECONDS"),
        ({"ALERT_BEAT_SILENT_SECONDS": 60}, "ALERT_BEAT_SILENT_SECONDS"),
        ({"ALERT_WEBHOOK_URL": "https://pager.example/"}, "ALERT_WEBHOOK_SECRET"),
        ({"ALERT_WEBHOOK_URL": "https://pager.example/", "ALERT_WEBHOOK_SECRET": "whsec_c2hvcnQ="}, "24 random bytes"),
        ({"ALERT_WEBHOOK_URL": "http://pager.example/", "ALERT_WEBHOOK_SECRET": SECRET}, "ALERT_WEBHOOK_URL"),
        ({"ALERT_WEBHOOK_URL": "ftp://pager.example/", "ALERT_WEBHOOK_SECRET": SECRET}, "ALERT_WEBHOOK_URL"),
        ({"ALERT_WEBHOOK_URL": "https://a:b@pager.example/", "ALERT_WEBHOOK_SECRET": SECRET}, "a user"),
    ],
)
def test_a_contradiction_is_named(settings, changes, named):
    for name, value in changes.items():
        setattr(settings, name, value)
    [text] = find_contradictions()
    assert named in text
    assert [error.id for error in run_checks() if named in error.msg] == ["monitoring.E001"]
    with pytest.raises(ImproperlyConfigured, match="limits of alerts"):
        refuse_contradictions()


@pytest.mark.parametrize(
    "program",
    [["-c", "import config.asgi"], ["-m", "celery", "-A", "config", "beat", "--schedule=beat", "--pidfile="]],
)
def test_no_process_starts_with_one(program, tmp_path):
    done = subprocess.run(
        [sys.executable, *program],
        env=os.environ
        | {
            "PYTHONPATH": str(django_settings.BASE_DIR),
            "ALERT_QUEUE_SECONDS": "999",
            "DJANGO_SETTINGS_MODULE": "config.settings.test",
        },
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode != 0
    assert "ALERT_QUEUE_SECONDS is less than QUEUE_WAIT_SECONDS" in done.stderr
