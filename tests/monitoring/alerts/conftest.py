"""An operator who gets the mails, and a worker that serves what is on offer."""

import pytest
from django.contrib.auth.models import Group

from accounts.staff.roles import OPERATOR
from monitoring.alerts.runbook import read_sections
from tests.chat.conftest import _queries_beside_playwright, open_page  # noqa: F401  fixtures
from tests.support.cast import UserFactory


@pytest.fixture
def operator(catalogue):
    user = UserFactory.create(email="operator@example.com", is_staff=True)
    user.groups.add(Group.objects.get(name=OPERATOR))
    return user


@pytest.fixture
def quiet(settings):
    """Limits that this machine does not pass while a test looks at another rule."""
    settings.ALERT_MEMORY_PERCENT = settings.ALERT_DISK_PERCENT = 99.99
    settings.ALERT_BACKUP_HOURS = 0
    settings.ALERT_REMIND_SECONDS = 3600


@pytest.fixture(autouse=True)
def _sections_are_read_anew():
    read_sections.cache_clear()
