"""Who works with the admin, and pages in a real browser."""

import pytest
from django.contrib.auth.models import Group

from accounts.staff.roles import FINANCE, OPERATOR, SUPPORT
from tests.chat.conftest import (  # noqa: F401  fixtures
    _live,
    _queries_beside_playwright,
    engine,
    open_page,
    server,
    worker,
)
from tests.support.cast import UserFactory


def _member(name, role):
    user = UserFactory.create(email=f"{name}@example.com", is_staff=True)
    user.groups.add(Group.objects.get(name=role))
    return user


@pytest.fixture
def sue(catalogue):
    """Of support."""
    return _member("sue", SUPPORT)


@pytest.fixture
def fred(catalogue):
    """Of finance."""
    return _member("fred", FINANCE)


@pytest.fixture
def gina(catalogue):
    """Of finance, too."""
    return _member("gina", FINANCE)


@pytest.fixture
def olga(catalogue):
    """An operator."""
    return _member("olga", OPERATOR)
