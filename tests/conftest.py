"""Fixtures of the whole suite. Databases, Redis and the tokenizer are the real ones."""

from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from django.conf import settings
from django.test import Client
from hypothesis import settings as hypothesis_settings
from playwright.sync_api import sync_playwright
from xdist.scheduler import LoadFileScheduling

from accounts.staff.entrance import works_here
from tests.e2e.looking import close
from tests.support.cast import CREDIT, UserFactory, confirm_session, fund
from tests.support.databases import emptying, owner
from tests.support.databases.redis_admin import admin
from tests.support.stack import Stack

hypothesis_settings.register_profile("tally", deadline=None)  # a busy machine is no defect
hypothesis_settings.load_profile("tally")


OF_THE_STACK = (
    "e2e",
    "faults",
    "startup",
    "storm",
)  # folders whose tests start servers: the longest group


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the long tests out unless they are asked for by name of their mark; begin with the longest group."""
    for mark in ("slow", "thorough", "storm", "clients", "docker"):
        if mark not in config.getoption("-m"):
            long = [item for item in items if item.get_closest_marker(mark)]
            config.hook.pytest_deselected(items=long)
            items[:] = [item for item in items if item not in long]
    items.sort(key=lambda item: _is_of_the_stack(item.nodeid), reverse=True)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> "_Together":
    """Say which tests run in the same process."""
    return _Together(config, log)


class _Together(LoadFileScheduling):
    """The tests of a file run in one process, and all that need the whole stack, which has ports of its own. Guards
    need nothing of each other."""

    def _split_scope(self, nodeid: str) -> str:
        if _is_of_the_stack(nodeid):
            return "stack"
        return nodeid if "/test_guards.py::" in nodeid else str(super()._split_scope(nodeid))


def _is_of_the_stack(nodeid: str) -> bool:
    return nodeid.split("/")[1] in OF_THE_STACK


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: Any) -> None:
    """The database is the owner's and the tests are the application; some need the owner."""
    with django_db_blocker.unblock():
        owner.install()


@pytest.fixture(scope="session", autouse=True)
def _empty_quickly() -> Iterator[None]:
    """Many tests leave a database that has to be emptied."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        emptying.install(monkeypatch)
        yield


@pytest.fixture(scope="session", autouse=True)
def _mail_goes_through_the_outbox(django_test_environment: None) -> None:
    """Django's test environment would put mails into memory at once (tests/support/mailbox.py)."""
    settings.EMAIL_BACKEND = "accounts.mail.outbox.OutboxBackend"


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
    user = UserFactory.create(email="alice@example.com")
    fund(user, 100 * CREDIT)
    return user


@pytest.fixture
def bob(catalogue: Any) -> Any:
    """Broke."""
    return UserFactory.create(email="bob@example.com")


@pytest.fixture
def charlie(catalogue: Any) -> Any:
    """An outsider, funded, who owns nothing of the others'."""
    user = UserFactory.create(email="charlie@example.com")
    fund(user, 100 * CREDIT)
    return user


@pytest.fixture
def staff(catalogue: Any) -> Any:
    """Works here."""
    return UserFactory.create(email="staff@example.com", is_staff=True, is_superuser=True)


@pytest.fixture(autouse=True)
def _staff_gave_a_second_factor(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Staff whom a test logs in with `force_login` gave their code too, unless it is marked `password_only`."""
    log_in = Client.force_login

    def log_in_with_code(client: Client, user: Any, backend: str | None = None) -> None:
        log_in(client, user, backend)
        if works_here(user):
            confirm_session(client, user)

    if request.node.get_closest_marker("password_only") is None:
        monkeypatch.setattr(Client, "force_login", log_in_with_code)


@pytest.fixture(autouse=True)
def _clean_redis() -> Iterator[None]:
    """Rate limits and streams of one test are nothing to the next."""
    yield
    admin().flushdb()


def _asked_of(fixture_names: Iterable[str]) -> list[Any]:
    """The checks of `verify_ledger` that a test can pass: some need an origin, or an answer, that it does not make."""
    from billing.ledger.verification import checks, origins
    from inference.generations.ledger_checks import charges_are_for_answers, refunds_by_nobody_are_of_answers

    left_out = []
    if {"ledger_alone", "without_answers"} & set(fixture_names):
        left_out.append(charges_are_for_answers)
    if "ledger_alone" in fixture_names:
        left_out += [origins.find_entries_without_origin, refunds_by_nobody_are_of_answers]
    return [check for check in checks.CHECKS if check not in left_out]


@pytest.fixture
def faults(request: pytest.FixtureRequest) -> Any:
    """Call it to get the faults of `verify_ledger`."""

    from billing.ledger.verification import checks

    def find() -> list[str]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(checks, "CHECKS", _asked_of(request.fixturenames))
            return checks.verify().faults

    return find


@pytest.fixture
def ledger_alone(monkeypatch: Any) -> None:
    """For tests of the ledger itself, which call it without an order, an answer or a request that explains the call."""
    from billing.ledger.verification import checks

    monkeypatch.setattr(checks, "CHECKS", _asked_of(["ledger_alone"]))


@pytest.fixture
def without_answers() -> None:
    """For tests that charge without an answer."""


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The whole stack with the real model, started once for the browser and fault tests."""
    running = Stack(tmp_path_factory.mktemp("stack"))
    running.start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """Debian's Chromium."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium",
            args=[
                "--no-sandbox",
                "--disable-gpu",
                "--disable-background-networking",
                "--disable-component-update",
                "--host-resolver-rules=MAP tally.test 127.0.0.1",  # a host that a browser does not trust as its own
            ],
        )
        yield browser
        browser.close()


@pytest.fixture
def browse(chromium: Any, stack: Stack) -> Iterator[Any]:
    """Call it for a page that is logged in as the demo customer; script errors fail the test."""
    contexts: list[Any] = []
    errors: list[str] = []

    def open_page(login: dict[str, str] | None = None, **options: Any) -> Any:
        context = chromium.new_context(base_url=stack.url, **options)
        contexts.append(context)
        context.set_default_timeout(20_000)
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        login = login or stack.runtime["customer"]
        page.goto("/accounts/login/")
        page.fill("[name=login]", login["email"])
        page.fill("[name=password]", login["password"])
        page.click("button[type=submit]")
        page.wait_for_url(f"{stack.url}/")
        return page

    yield open_page
    for context in contexts:
        close(context)
    assert errors == []
