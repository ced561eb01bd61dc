"""Staff of each role, and a month in which everything happened."""

from datetime import UTC, datetime
from unittest import mock

import pytest
from django.contrib.auth.models import Group

from accounts.staff.roles import FINANCE, OPERATOR, SUPPORT
from billing import ledger
from billing.ledger.verification.proofs import prove
from inference.generations.endings import fail_generation
from monitoring.totals.samples import take_sample
from tests.billing.orders import complete, order
from tests.chat.conftest import _queries_beside_playwright, open_page  # noqa: F401  fixtures
from tests.inference.asking import ask
from tests.support.cast import CREDIT, UserFactory, answered_talk

BEGINNING = datetime(2026, 10, 1, 0, 0, 5, tzinfo=UTC)
MIDDLE = datetime(2026, 10, 15, 12, tzinfo=UTC)
AFTER = datetime(2026, 11, 1, 0, 0, 5, tzinfo=UTC)


def at(moment):
    return mock.patch("django.utils.timezone.now", return_value=moment)


@pytest.fixture
def member(catalogue):
    """Call it for a member of staff with this role."""

    def make(role):
        user = UserFactory.create(email=f"{role}@example.com", is_staff=True)
        user.groups.add(Group.objects.get(name=role))
        return user

    return make


@pytest.fixture
def finance(member):
    return member(FINANCE)


@pytest.fixture
def operator(member):
    return member(OPERATOR)


@pytest.fixture
def support(member):
    return member(SUPPORT)


@pytest.fixture
def october(alice, catalogue, staff):
    """In October alice bought, asked three times, got a part back, and one answer failed. Other credits are younger."""
    with at(BEGINNING):
        take_sample()
    with at(MIDDLE):
        complete(order(alice, 500, bonus=20 * CREDIT))
        for _ in range(3):
            answered_talk(alice, catalogue)
        hold = alice.wallet.holds.first()
        ledger.refund(hold_id=hold.pk, amount_microcredits=100, idempotency_key="r", reason="=SUM(A1)", by=staff)
        fail_generation(generation_id=ask(alice, catalogue).pk, error='=HYPERLINK("http://evil")')
        prove()
    with at(AFTER):
        take_sample()
