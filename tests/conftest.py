"""Fixtures of the whole suite. Databases, Redis and the tokenizer are the real ones."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.core.cache import cache

from tests.cast import CREDIT, UserFactory, fund


@pytest.fixture
def catalogue(db: None) -> Any:
    """The catalogue with its prices; the demo model is available, the others are not."""
    from inference.catalogue import DEMO_KEY, seed_catalogue
    from inference.models import CatalogueModel

    seed_catalogue()
    CatalogueModel.objects.filter(key=DEMO_KEY).update(unavailable_reason="")
    CatalogueModel.objects.exclude(key=DEMO_KEY).update(unavailable_reason="Its weights are not on this machine.")
    return CatalogueModel.objects.get(key=DEMO_KEY)


@pytest.fixture
def alice(catalogue: Any) -> Any:
    """Funded with 100 credits."""
    user = UserFactory(email="alice@example.com")
    fund(user, 100 * CREDIT)
    return user


@pytest.fixture
def bob(catalogue: Any) -> Any:
    """Broke."""
    return UserFactory(email="bob@example.com")


@pytest.fixture
def charlie(catalogue: Any) -> Any:
    """An outsider, funded, who owns nothing of the others'."""
    user = UserFactory(email="charlie@example.com")
    fund(user, 100 * CREDIT)
    return user


@pytest.fixture
def staff(catalogue: Any) -> Any:
    """Works here."""
    return UserFactory(email="staff@example.com", is_staff=True, is_superuser=True)


@pytest.fixture(autouse=True)
def _clean_redis() -> Iterator[None]:
    """Rate limits and streams of one test are nothing to the next."""
    yield
    cache.clear()


@pytest.fixture
def faults() -> Any:
    """Call it to get the faults of `verify_ledger`."""
    from billing.verification import verify

    return lambda: verify().faults
