"""What the billing tests share."""

from collections.abc import Iterator
from typing import Any

import pytest
import stripe as stripe_library

from billing.ledger import hot_path
from tests.billing.reporting.long_history import long_history  # noqa: F401  fixtures
from tests.billing.stripe.signing import SECRET
from tests.billing.stripe.stripe_server import StripeServer


@pytest.fixture
def stripe(settings: Any, monkeypatch: Any) -> Iterator[StripeServer]:
    """A Stripe of this test's own, set up as the only provider."""
    server = StripeServer()
    server.start()
    settings.STRIPE_SECRET_KEY = "sk_test_tally"
    settings.STRIPE_WEBHOOK_SECRET = SECRET
    settings.STRIPE_API_BASE = server.url
    settings.PAYMENT_PROVIDERS = {"stripe": "billing.stripe.provider.StripeProvider"}
    monkeypatch.setattr(stripe_library.HTTPClient, "INITIAL_DELAY", 0.01)
    yield server
    server.stop()


@pytest.fixture(autouse=True)
def _sound(request: Any) -> Iterator[None]:
    """After every test with a Stripe the ledger proves itself."""
    if not {"stripe", "bob"} <= set(request.fixturenames):
        yield
        return
    request.getfixturevalue("bob")  # so that the database outlives what follows
    faults = request.getfixturevalue("faults")
    yield
    assert faults() == []


@pytest.fixture(params=["in one call", "under the lock"])
def each_way(request: Any, monkeypatch: Any) -> None:
    """Holds and settlements are written twice (docs/adr/0024): what both must do is tested with each."""
    if request.param == "under the lock":
        hold_under_the_lock(monkeypatch)


def hold_under_the_lock(monkeypatch: Any) -> None:
    """No wallet is ordinary from now on."""
    monkeypatch.setattr(hot_path, "place_hold", lambda *_arguments: None)
    monkeypatch.setattr(hot_path, "settle_hold", lambda *_arguments: None)
