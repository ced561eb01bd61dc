"""The pages of the reports: who sees which, what is no period, files, and each in a real browser."""

import re

import pytest
from django.contrib.auth.models import Permission
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from accounts.models import User
from accounts.staff.roles import FINANCE, OPERATOR, SUPPORT
from monitoring.reports.catalogue import KINDS
from tests.e2e.looking import look_at
from tests.support.cast import UserFactory

OCTOBER = "?from=2026-10-01&to=2026-10-31"
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
SMALL = {"viewport": {"width": 320, "height": 640}}
DESKTOP = {"viewport": {"width": 1440, "height": 900}}
MAY_SEE = {
    SUPPORT: set(),
    FINANCE: {"revenue", "usage", "models", "incidents"},
    OPERATOR: {"usage", "models", "performance", "incidents"},
}


def path(name, query="", form=""):
    return reverse("monitoring:report_file", args=[name, form]) + query if form else f"/ops/reports/{name}/{query}"


@pytest.mark.parametrize("role", MAY_SEE)
def test_each_role_sees_its_reports_and_no_other(client, member, role):
    client.force_login(member(role))
    for name in KINDS:
        should = 200 if name in MAY_SEE[role] else 403
        assert client.get(path(name)).status_code == should, name
        assert client.get(path(name, form="csv")).status_code == should, name
        assert client.get(path(name, form="json")).status_code == should, name
    listed = client.get("/ops/reports/")
    assert listed.status_code == (200 if MAY_SEE[role] else 403)
    if MAY_SEE[role]:
        assert set(re.findall(r'/ops/reports/(\w+)/"', listed.content.decode())) == MAY_SEE[role]


def test_a_right_without_being_staff_opens_nothing(client, catalogue):
    user = UserFactory.create(email="former@example.com")
    user.user_permissions.add(Permission.objects.get(codename="view_revenue_report"))
    client.force_login(user)
    assert client.get(path("revenue")).status_code == 403
    User.objects.filter(pk=user.pk).update(is_staff=True)
    assert client.get(path("revenue")).status_code == 200


@pytest.mark.parametrize("name", ["nothing", "revenue.csv", "REVENUE"])
def test_what_is_no_report_is_not_there(client, finance, name):
    client.force_login(finance)
    assert client.get(path(name)).status_code == 404
    assert client.get(path("revenue", form="xlsx")).status_code == 404


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("?from=2026-02-31", "“2026-02-31” is no day of the calendar. Write one as 2026-01-31."),
        ("?from=2026-10-02&to=2026-10-01", "This day is before the first one."),
        ("?from=2016-10-01&to=2026-10-01", "A report covers 366 days at most."),
        ("?to=2099-01-01", "This day has not come yet"),
        ("?from=%00", "is no day of the calendar"),
        ("?from=<script>", "“&lt;script&gt;” is no day"),
    ],
)
def test_what_is_no_period_is_said_beside_the_form(client, finance, query, words):
    client.force_login(finance)
    page = client.get(path("revenue", query))
    assert page.status_code == 400
    assert words in page.content.decode()
    assert 'aria-invalid="true"' in page.content.decode()
    file = client.get(path("revenue", query, "csv"))
    assert file.status_code == 400
    assert file["Content-Type"].startswith("text/plain")


def test_the_page_says_what_the_ledger_says_and_its_last_line_reconciles(client, finance, october):
    client.force_login(finance)
    page = client.get(path("revenue", OCTOBER)).content.decode()
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", page))
    assert "Revenue, October 2026" in text
    assert "1 Oct 2026, 00:00 to 1 Nov 2026, 00:00, UTC." in text
    assert "Unspent credits at the end (our liability) 6 519.998540" in text
    assert text.strip().endswith("of which +100.000000 moved since its end.")
    assert len(page) < 300_000


def test_the_period_is_said_by_the_clocks_of_the_reports_not_of_the_reader(client, finance, october, settings):
    settings.REPORTING_TIME_ZONE = "Europe/Berlin"
    User.objects.filter(pk=finance.pk).update(time_zone="Pacific/Auckland")
    client.force_login(finance)
    text = client.get(path("revenue", OCTOBER)).content.decode()
    assert "1 Oct 2026, 00:00 to 1 Nov 2026, 00:00, Europe/Berlin." in re.sub(r"\s+", " ", text)


def test_files_are_downloads_with_the_days_in_their_names(client, finance, october):
    client.force_login(finance)
    file = client.get(path("revenue", OCTOBER, "csv"))
    assert file["Content-Disposition"] == 'attachment; filename="tally-revenue-2026-10-01-2026-10-31.csv"'
    assert b"Spent on answers,3,-0.001560" in file.content
    data = client.get(path("revenue", OCTOBER, "json")).json()
    assert data["reconciliation"]["is_good"] is True


def test_the_form_leads_to_another_report_of_the_same_days(client, finance):
    client.force_login(finance)
    answer = client.get("/ops/reports/?report=usage&from=2026-10-01&to=2026-10-31")
    assert answer["Location"] == path("usage", OCTOBER)
    assert client.get("/ops/reports/?report=//evil.example").status_code == 200


@pytest.mark.parametrize("name", ["revenue", "usage", "models", "incidents"])
def test_a_year_takes_no_more_queries_than_a_day_and_is_no_large_page(client, finance, october, name):
    client.force_login(finance)
    counts = []
    for query in ("?from=2026-10-15&to=2026-10-15", "?from=2025-12-01&to=2026-11-30"):
        client.get(path(name, query))
        with CaptureQueriesContext(connection) as queries:
            page = client.get(path(name, query))
        counts.append(len(queries))
        assert len(page.content) < 300_000
    assert counts[0] == counts[1] <= 9


def test_the_admin_leads_finance_there_and_support_not(client, finance, support):
    link = 'href="/ops/reports/"'
    client.force_login(finance)
    assert link in client.get("/admin/").content.decode()
    client.force_login(support)
    assert link not in client.get("/admin/").content.decode()


@pytest.mark.django_db(transaction=True)
@pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume")
class TestInABrowser:
    """Each report, on a phone and a desktop, light and dark."""

    @pytest.mark.parametrize("size", [PHONE, SMALL, DESKTOP], ids=["phone", "small", "desktop"])
    @pytest.mark.parametrize("scheme", ["light", "dark"])
    def test_they_are_whole_and_accessible(self, open_page, staff, october, size, scheme):
        page = open_page(staff, "/ops/reports/", color_scheme=scheme, **size)
        look_at(page, f"reports-{scheme}-{size['viewport']['width']}")
        for name in KINDS:
            page.goto(page.url.split("/ops/")[0] + path(name, OCTOBER))
            for summary in page.locator("details > summary").all():
                summary.click()
            look_at(page, f"report-{name}-{scheme}-{size['viewport']['width']}")

    def test_a_wrong_day_is_said_and_the_form_leads_on(self, open_page, staff, october):
        page = open_page(staff, path("revenue", "?from=2026-02-31"), viewport={"width": 900, "height": 700})
        look_at(page, "report-wrong")
        page.fill("#report-from", "2026-10-01")
        page.fill("#report-to", "2026-10-31")
        page.select_option("#report-name", "usage")
        page.click("text=Show")
        page.wait_for_url("**/ops/reports/usage/?from=2026-10-01&to=2026-10-31")
        assert page.inner_text("h1") == "Usage, October 2026"

    def test_it_prints_without_its_bar_and_forms(self, open_page, staff, october):
        page = open_page(staff, path("revenue", OCTOBER), viewport={"width": 900, "height": 700})
        page.emulate_media(media="print")
        assert not page.is_visible(".ops-bar")
        assert not page.is_visible("#report-name")
        assert page.is_visible("#flow")
        assert page.is_visible("#proof")
