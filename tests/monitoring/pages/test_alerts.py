"""The pages of alerts: the list, one alert with its actions, and the sections that explain each rule."""

import uuid
from datetime import timedelta

import pytest
from django.conf import settings as django_settings
from django.contrib.auth.models import Group
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from accounts.models import AuditEvent
from accounts.staff.roles import FINANCE, OPERATOR, SUPPORT
from monitoring.alerts.rules import RULES
from monitoring.alerts.runbook import read_sections
from monitoring.models import Alert, AlertDelivery, AlertEvent, AlertState
from tests.e2e.looking import look_at
from tests.support.cast import UserFactory

LIST = "/ops/alerts/"
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
SMALL = {"viewport": {"width": 320, "height": 640}}
DESKTOP = {"viewport": {"width": 1440, "height": 900}}
ACTIONS = ("acknowledge", "resolve", "mute", "unmute", "note")


def make(rule="queue_old", about="gemma-3-12b", minutes=14, **columns):
    """An alert that has been open for some minutes, with its figures."""
    now = timezone.now()
    opened_at = now - timedelta(minutes=minutes)
    begin = opened_at.timestamp() - 60
    figures = [[round(begin + 30 * step), 61 + 6.5 * step] for step in range(2 * minutes + 3)]
    columns = {"state": AlertState.OPEN, "figures": figures, "value": 246.0, "limit": 60.0} | columns
    columns |= {"detail": "The oldest waits for 246 s, limit 60 s; 41 wait.", "is_critical": RULES[rule].is_critical}
    alert = Alert.objects.create(
        rule=rule, about=about, opened_at=opened_at, over_since=opened_at - timedelta(minutes=1), **columns
    )
    AlertEvent.objects.create(alert=alert, at=opened_at, text="Opened: the oldest waits for 61 s, limit 60 s; 2 wait.")
    AlertEvent.objects.create(alert=alert, at=opened_at, text="E-mail to 2 operators, and a message to the webhook")
    AlertDelivery.objects.create(
        alert=alert, body="{}", created_at=opened_at, taken_at=opened_at, due_at=None, tries_count=1
    )
    return alert


def closed(minutes, days, **columns):
    """One that was closed so many days ago."""
    moved = timedelta(days=days)
    closing = {"state": AlertState.CLOSED, "closed_at": timezone.now() - moved}
    alert = make(minutes=minutes, **columns | closing)
    alert.opened_at -= moved
    alert.save()
    return alert


def client_of(user):
    client = Client()
    client.force_login(user)
    return client


def member(role):
    user = UserFactory(email=f"{role}@example.com", is_staff=True)
    user.groups.add(Group.objects.get(name=role))
    return user


@pytest.fixture
def operator(catalogue):
    return member(OPERATOR)


@pytest.fixture
def alert(catalogue):
    return make()


def path(name, alert):
    return reverse(f"monitoring:{name}", args=[alert.pk])


def test_each_role_does_what_it_may_and_nothing_else(alert, alice, staff):
    clients = {"stranger": Client(), "customer": client_of(alice), "superuser": client_of(staff)}
    clients |= {role: client_of(member(role)) for role in (SUPPORT, FINANCE, OPERATOR)}
    found = {}
    for who, client in clients.items():
        gets = [client.get(url).status_code for url in (LIST, path("alert", alert), "/ops/runbook/")]
        posts = []
        for name in ACTIONS:
            fields = {"how_long": "1", "text": who, "key": uuid.uuid4()}
            answer = client.post(path(name, alert), fields)
            posts.append((answer.status_code, answer.headers.get("Location", "").partition("?")[0]))
        found[who] = (gets, posts)
    back = (302, path("alert", alert))
    let_in = ([200] * 3, [back] * 5)
    refused = ([403] * 3, [(403, "")] * 5)
    assert found == {
        "stranger": ([302] * 3, [(302, "/accounts/login/")] * 5),
        "customer": refused,
        SUPPORT: refused,
        FINANCE: refused,
        OPERATOR: let_in,
        "superuser": let_in,
    }
    actors = {event.actor.email for event in AuditEvent.objects.filter(action__startswith="alert ")}
    assert actors == {"staff@example.com", "operator@example.com"}


def test_a_post_without_its_token_is_refused(alert, operator):
    client = Client(enforce_csrf_checks=True)
    client.force_login(operator)
    assert client.post(path("acknowledge", alert)).status_code == 403
    assert Alert.objects.get().taken_at is None


def test_an_alert_that_is_not_there_or_has_not_opened_is_404(operator, alert):
    client = client_of(operator)
    pending = Alert.objects.create(rule="disk", is_critical=True, detail="x", over_since=timezone.now())
    for pk in (pending.pk, pending.pk + 1000):
        assert client.get(f"/ops/alerts/{pk}/").status_code == 404
        for name in ACTIONS:
            fields = {"how_long": "1", "text": "x", "key": uuid.uuid4()}
            assert client.post(f"/ops/alerts/{pk}/{name}/", fields).status_code == 404


@pytest.mark.parametrize(
    ("name", "fields", "said"),
    [
        ("mute", {"how_long": "forever"}, "Choose for how long."),
        ("mute", {}, "Choose for how long."),
        ("note", {"text": "", "key": str(uuid.uuid4())}, "Write a note"),
        ("note", {"text": "x" * 1001, "key": str(uuid.uuid4())}, "Write a note"),
        ("note", {"text": "x", "key": "no key"}, "Write a note"),
        ("note", {"text": "x\0", "key": str(uuid.uuid4())}, "Write a note"),
    ],
)
def test_bad_input_changes_nothing_and_is_said(alert, operator, name, fields, said):
    page = client_of(operator).post(path(name, alert), fields, follow=True).content.decode()
    assert said in page
    assert AuditEvent.objects.filter(action__startswith="alert ").count() == 0


def test_a_double_click_and_a_second_tab_do_it_once(alert, operator):
    first, second = client_of(operator), client_of(operator)
    key = uuid.uuid4()
    for client in (first, second):
        for _ in range(2):
            client.post(path("acknowledge", alert))
            client.post(path("note", alert), {"text": "Looking at gpu-2", "key": key})
            client.post(path("resolve", alert))
    done = AuditEvent.objects.filter(action__startswith="alert ").order_by("pk").values_list("action", flat=True)
    assert list(done) == ["alert acknowledged", "alert noted", "alert resolved"]
    assert first.get(path("alert", alert)).content.decode().count("Looking at gpu-2") == 1


def test_what_is_done_about_a_closed_one_is_said(operator, catalogue):
    over = closed(10, 1)
    page = client_of(operator).post(path("acknowledge", over), follow=True).content.decode()
    assert "This alert has closed meanwhile." in page


def test_what_people_write_is_escaped(alert, operator):
    client = client_of(operator)
    client.post(path("note", alert), {"text": "<script>alert(1)</script>", "key": uuid.uuid4()})
    page = client.get(path("alert", alert)).content.decode()
    assert "&lt;script&gt;alert(1)" in page
    assert "<script>alert(1)" not in page


def test_the_page_of_operations_leads_to_the_alert_and_to_its_section(operator, catalogue):
    client = client_of(operator)
    assert "/ops/alerts/1" not in client.get("/ops/").content.decode()
    opened = make(rule="no_worker", about=catalogue.key)
    page = client.get("/ops/").content.decode()
    assert "<b>1 open</b>" in page
    assert f'href="{path("alert", opened)}"' in page
    assert 'href="/ops/runbook/#no-worker-for-a-model"' in page


def test_every_rule_has_its_section_and_each_can_be_reached(operator):
    missing = [rule.name for rule in RULES.values() if rule.anchor not in read_sections()]
    assert missing == []
    page = client_of(operator).get("/ops/runbook/").content.decode()
    assert [rule.anchor for rule in RULES.values() if f'id="{rule.anchor}"' not in page] == []
    text = (django_settings.BASE_DIR / "docs" / "operations.md").read_text()
    assert [rule.name for rule in RULES.values() if f"`{rule.name}`" not in text] == []


def test_the_image_has_the_sections():
    assert "!docs/operations.md" in (django_settings.BASE_DIR / ".dockerignore").read_text().splitlines()


def test_they_take_a_bounded_number_of_queries(operator, alert):
    client = client_of(operator)
    counts = {}
    for step in (1, 2):
        for url in (LIST, path("alert", alert)):
            client.get(url)
            with CaptureQueriesContext(connection) as queries:
                assert client.get(url).status_code == 200
            counts[url, step] = len(queries)
        for number in range(60):
            closed(5 + number % 7, number % 80, rule="queue_old")
            if step == 1 and number < 10:
                make(rule="disk", about=f"host-{number}")
    assert counts[LIST, 1] + 1 >= counts[LIST, 2]
    assert counts[path("alert", alert), 1] + 1 >= counts[path("alert", alert), 2]
    assert max(counts.values()) <= 16


def test_the_list_goes_page_by_page_and_takes_any_number(operator, catalogue):
    for number in range(51):
        closed(5, number)
    client = client_of(operator)
    assert client.get(LIST).content.decode().count("open for") == 50
    assert client.get(f"{LIST}?page=2").content.decode().count("open for") == 1
    for bad in ("0", "-1", "x", "9" * 50):
        assert client.get(LIST, {"page": bad}).status_code == 200


@pytest.mark.django_db(transaction=True)
@pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume")
class TestInABrowser:
    """As operators see them."""

    @pytest.fixture
    def all_kinds(self, catalogue, staff):
        alert = make()
        make(rule="gpu_heat", about="gpu-2 0 NVIDIA H200", minutes=19, taken_by=staff, taken_at=timezone.now())
        make(rule="no_worker", about="gemma-3-27b", minutes=3)
        make(rule="memory", about="db-1", state=AlertState.RESOLVED, resolved_at=timezone.now())
        for minutes, days in ((22, 18), (9, 58), (6, 83)):
            closed(minutes, days)
        return alert

    @pytest.mark.parametrize("size", [PHONE, SMALL, DESKTOP], ids=["phone", "small", "desktop"])
    @pytest.mark.parametrize("scheme", ["light", "dark"])
    def test_they_are_whole_and_accessible(self, open_page, operator, all_kinds, size, scheme):
        width = size["viewport"]["width"]
        page = open_page(operator, path("alert", all_kinds), color_scheme=scheme, **size)
        look_at(page, f"alert-{scheme}-{width}")
        for name, url in (("alerts", LIST), ("runbook", "/ops/runbook/"), ("operations-alerts", "/ops/")):
            page.goto(url)
            look_at(page, f"{name}-{scheme}-{width}")

    def test_an_operator_takes_notes_mutes_and_resolves(self, open_page, operator, all_kinds):
        page = open_page(operator, LIST, **DESKTOP)
        page.click("h3 a:has-text('gemma-3-12b')")
        page.click("button:has-text('Acknowledge')")
        page.wait_for_selector("#alert-now:has-text('Taken by operator@example.com')")
        page.fill("[name=text]", "Looking at gpu-2")
        page.dblclick("button:has-text('Add')")
        page.wait_for_selector(".past:has-text('Looking at gpu-2')")
        page.select_option("[name=how_long]", "end")
        page.click("button:text-is('Mute')")
        page.wait_for_selector(".alert-form:has-text('Muted until it closes.')")
        page.click("button:text-is('Unmute')")
        page.wait_for_selector("p:has-text('It stays on the page of operations')")
        page.click("button:has-text('Resolve')")
        page.wait_for_selector("#alert-now:has-text('Resolved by hand')")
        assert AlertEvent.objects.filter(text="Looking at gpu-2").count() == 1
        look_at(page, "alert-resolved")

    def test_it_goes_on_by_itself_and_leaves_focus_where_it_is(self, open_page, operator, all_kinds):
        page = open_page(operator, path("alert", all_kinds), **DESKTOP)
        page.focus("[name=text]")
        Alert.objects.filter(pk=all_kinds.pk).update(detail="The oldest waits for 300 s, limit 60 s; 50 wait.")
        page.wait_for_selector("#alert-now:has-text('300 s')")
        assert page.evaluate("document.activeElement.name") == "text"

    def test_it_works_without_scripts(self, open_page, operator, all_kinds):
        page = open_page(operator, path("alert", all_kinds), java_script_enabled=False)
        page.click("button:has-text('Acknowledge')")
        page.wait_for_selector("#alert-now:has-text('Taken by')")
