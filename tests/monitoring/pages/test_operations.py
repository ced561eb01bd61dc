"""Operators see how Tally does now, what is wrong first, and figures that go on by themselves."""

import re
from datetime import timedelta
from unittest import mock

import pytest
from django.contrib.auth.models import Group
from django.db import OperationalError, connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.staff.roles import OPERATOR
from billing.ledger.verification.proofs import prove
from inference.generations.endings import fail_generation
from inference.relay import streams
from inference.worker.contracts import LoadedModel
from monitoring.totals.samples import take_sample
from tests.e2e.looking import look_at
from tests.inference.asking import ask
from tests.support.cast import UserFactory, answered_talk
from tests.support.databases.owner import connect

PATH = "/ops/"
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
SMALL = {"viewport": {"width": 320, "height": 640}}
DESKTOP = {"viewport": {"width": 1440, "height": 900}}


@pytest.fixture
def operator(catalogue):
    user = UserFactory.create(email="operator@example.com", is_staff=True)
    user.groups.add(Group.objects.get(name=OPERATOR))
    return user


@pytest.fixture
def serving(worker, catalogue):
    """A worker has loaded the model that is on offer."""
    worker(catalogue.key, models=[LoadedModel(catalogue.key, "ready", 600_000_000, 0, 0, 0.0)])


@pytest.fixture
def look(client, operator):
    """Call it for what the operator reads, without tags."""
    client.force_login(operator)

    def read(**headers):
        answer = client.get(PATH, headers=headers)
        assert answer.status_code == 200
        return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", answer.content.decode()))

    return read


def a_minute_ago():
    return mock.patch("django.utils.timezone.now", return_value=timezone.now() - timedelta(minutes=5))


def test_when_all_is_well_it_says_so(look, serving):
    prove()
    text = look()
    assert "All well" in text
    assert "No limit is passed" in text


def test_what_is_wrong_comes_first_and_the_critical_before_the_rest(look, alice, catalogue, settings):
    settings.HOLD_LIFETIME_SECONDS = -1
    waiting = ask(alice, catalogue)
    type(waiting).objects.update(created_at=timezone.now() - timedelta(seconds=90))
    text = look()
    assert "3 things are wrong" in text
    places = [text.index(words) for words in ("No worker takes answers of", "Holds are stuck", "wait too long")]
    assert places[0] == min(places)
    assert "The oldest waits for 90 s, limit 60 s; 1 wait." in text


def test_figures_are_of_the_last_minutes(look, alice, catalogue, serving):
    with a_minute_ago():
        take_sample()
    for _ in range(3):
        answered_talk(alice, catalogue)
    fail_generation(generation_id=ask(alice, catalogue).pk, error="test")
    text = look()
    assert "25.0 % failed, limit 5 %" in text
    assert "Answers fail" in text
    assert f"Spent, last minutes {3 * (20 * 20 + 3 * 40) / 1_000_000:.6f}".rstrip("0") in text
    assert "Owned by customers 99.99844" in text


def test_without_figures_a_dash_stands_there(look, serving):
    assert "\N{EN DASH} a second" in look()


def test_a_machine_without_a_gpu_says_so(look, monkeypatch):
    monkeypatch.setattr("monitoring.machine.read_gpus", list)
    assert "GPU No GPU" in look()


def test_a_redis_that_is_away_is_named_and_the_rest_is_shown(look, settings, alice):
    settings.RELAY_REDIS_URL = "redis://127.0.0.1:1/0"
    streams.connection.cache_clear()
    try:
        text = look()
    finally:
        streams.connection.cache_clear()
    assert "No GPU worker was heard of." in text
    assert "PostgreSQL Connections" in text


@pytest.mark.django_db(transaction=True)
def test_locked_tables_are_named_and_the_rest_is_shown(look, operator, serving):
    with connect() as owner:
        owner.execute("LOCK TABLE monitoring_total IN ACCESS EXCLUSIVE MODE")
        text = look()
    assert "Something cannot be read totals" in text
    assert "No limit is passed" not in text


def test_a_refresh_brings_the_figures_alone(look, serving):
    whole, part = look(), look(HX_Request="true")
    assert "Administration" in whole
    assert "Administration" not in part
    assert "All well" in part


@pytest.mark.parametrize(("query", "title"), [("", "Hour"), ("?over=week", "Week"), ("?over=century", "Hour")])
def test_charts_are_of_the_span_that_was_asked_for(client, operator, serving, query, title):
    client.force_login(operator)
    page = client.get(PATH + query).content.decode()
    assert re.search(rf'aria-current="true">\s*{title}\s*</a>', page)
    assert page.count("The same figures as a table") == 6


def test_charts_that_cannot_be_read_leave_the_rest(client, operator, serving, monkeypatch):
    def unreadable(*_arguments):
        raise OperationalError

    monkeypatch.setattr("monitoring.pages.operations.read_history", unreadable)
    client.force_login(operator)
    page = client.get(PATH).content.decode()
    assert "The samples cannot be read now." in page
    assert "No limit is passed" in page


def test_it_takes_a_bounded_number_of_queries(client, operator, alice, catalogue, serving):
    client.force_login(operator)
    client.get(PATH)
    with CaptureQueriesContext(connection) as few:
        client.get(PATH)
    for _ in range(5):
        answered_talk(alice, catalogue)
    with CaptureQueriesContext(connection) as many:
        client.get(PATH)
    assert max(len(few), len(many)) <= 80


def test_every_rule_of_prometheus_that_it_has_too_has_the_same_limit(settings):
    rules = (settings.BASE_DIR / "deploy/prometheus/rules.yml").read_text()
    assert f"tally_queue_oldest_seconds > {settings.ALERT_QUEUE_SECONDS:g}\n" in rules
    assert f"(rate(tally_answers_total[5m])) > {settings.ALERT_FAILED_PERCENT / 100:g}\n" in rules
    assert (
        f"(rate(gen_ai_server_time_to_first_token_seconds_bucket[5m]))) > {settings.ALERT_FIRST_TOKEN_SECONDS:g}\n"
        in rules
    )
    assert f"tally_database_connections_limit) > {settings.ALERT_CONNECTIONS_PERCENT / 100:g}\n" in rules
    assert f"> {settings.ALERT_PROOF_NEW_HOURS:g} * 3600" in rules
    assert f"> {settings.ALERT_PROOF_EVERYTHING_HOURS:g} * 3600" in rules


@pytest.mark.django_db(transaction=True)
@pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume")
class TestInABrowser:
    """With a worker of the live server."""

    @pytest.mark.parametrize("size", [PHONE, SMALL, DESKTOP], ids=["phone", "small", "desktop"])
    @pytest.mark.parametrize("scheme", ["light", "dark"])
    def test_it_is_whole_and_accessible(self, open_page, operator, alice, catalogue, serving, size, scheme):
        for minutes in (40, 30, 20, 5):
            with mock.patch("django.utils.timezone.now", return_value=timezone.now() - timedelta(minutes=minutes)):
                take_sample()
            for _ in range(minutes // 10):
                answered_talk(alice, catalogue)
        prove()
        answered_talk(alice, catalogue)
        ask(alice, catalogue)
        page = open_page(operator, PATH, color_scheme=scheme, **size)
        page.locator(".history details > summary").first.click()
        look_at(page, f"operations-{scheme}-{size['viewport']['width']}")

    def test_it_goes_on_by_itself_and_leaves_focus_and_scroll_where_they_are(
        self, open_page, operator, alice, catalogue, serving
    ):
        page = open_page(operator, PATH, viewport={"width": 900, "height": 500})
        page.focus("nav a[aria-current]")
        page.evaluate("scrollTo(0, 200)")
        before = page.inner_text("#ops-now")
        page.wait_for_function("text => document.querySelector('#ops-now').innerText !== text", arg=before)
        assert page.evaluate("document.activeElement.getAttribute('aria-current')") == "page"
        assert page.evaluate("scrollY") == 200
        assert page.locator(".zone").count() == 1
