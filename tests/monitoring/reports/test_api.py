"""The reports over the API: the tables of the pages, and a clear 400 for what is no period."""

import pytest

from monitoring.reports.catalogue import KINDS
from monitoring.reports.files import as_data
from monitoring.reports.periods import read_period

OCTOBER = {"from": "2026-10-01", "to": "2026-10-31"}


@pytest.mark.parametrize("name", ["revenue", "usage", "models", "incidents"])
def test_it_answers_the_tables_of_the_page(login, finance, october, name):
    answer = login(finance).get(f"/api/v1/reports/{name}", OCTOBER)
    assert answer.status_code == 200
    wanted = as_data(KINDS[name].make(read_period(OCTOBER["from"], OCTOBER["to"])))
    assert answer.json() | {"made_at": ""} == wanted | {"made_at": ""}


def test_without_days_it_is_the_running_month(login, operator):
    period = login(operator).get("/api/v1/reports/performance").json()["period"]
    assert period["first_day"].endswith("-01")
    assert period["is_running"] is True


@pytest.mark.parametrize(
    ("query", "field", "words"),
    [
        ({"from": "2026-02-31"}, "from", "no day of the calendar"),
        ({"from": "2026-10-02", "to": "2026-10-01"}, "to", "before the first one"),
        ({"from": "2016-10-01", "to": "2026-10-01"}, "to", "366 days at most"),
        ({"to": "2099-01-01"}, "to", "has not come yet"),
        ({"from": "\x00"}, "from", ""),
        ({"from": ""}, "from", ""),
        ({"form": "2026-10-01"}, "form", "no such parameter"),
    ],
)
def test_what_is_no_period_is_a_400_that_names_the_field(login, finance, query, field, words):
    answer = login(finance).get("/api/v1/reports/revenue", query)
    assert answer.status_code == 400
    assert words in answer.json()["errors"][field][0]


def test_no_key_opens_them(with_key, staff):
    assert with_key(staff).get("/api/v1/reports/usage").status_code == 403
