"""A large site: every list, search and page of the admin and of /ops/ reads few rows, by few queries, into small pages.

The customers are made by `manage.py seed_many`, whose ledger must be proven like any other.
"""

import json
import os
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib import admin
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import URLPattern, URLResolver, get_resolver, reverse

from accounts.models import User
from billing.models import LedgerEntry
from core.postgresql.roles import as_owner
from monitoring.totals.adding import add_up
from tests.support.cast import UserFactory

pytestmark = [pytest.mark.thorough, pytest.mark.timeout(3600)]
USERS = int(os.environ.get("MANY_USERS", "100000"))
ENTRIES = int(os.environ.get("MANY_ENTRIES", "2000000"))
MOST_QUERIES, MOST_BYTES = 60, 300_000
MOST_SCANNED = 5_000  # rows that a page may read of a table without an index
WAYS = ("SELECT", "WITH")


@pytest.fixture(scope="module")
def many(django_db_setup, django_db_blocker):
    """The customers, which the last test of the module takes away."""
    with django_db_blocker.unblock():
        call_command("seed_many", users=USERS, entries=ENTRIES)
        while add_up():  # as beat does
            pass
        boss = UserFactory.create(email="boss@example.com", is_staff=True, is_superuser=True)
        yield boss
        with as_owner(connection):
            call_command("flush", verbosity=0, interactive=False)


@pytest.fixture
def boss(many, django_db_blocker) -> Iterator[Client]:
    """A superuser's browser."""
    with django_db_blocker.unblock():
        client = Client()
        client.force_login(many)
        yield client


def plans_of(sql: str) -> list[dict[str, Any]]:
    """What PostgreSQL did for a query: every node of its plan."""
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}")
        (found,) = cursor.fetchone()
    waiting = [(json.loads(found) if isinstance(found, str) else found)[0]["Plan"]]
    nodes = []
    while waiting:
        node = waiting.pop()
        nodes.append(node)
        waiting += node.get("Plans", [])
    return nodes


def scanned(sql: str) -> list[str]:
    """The tables of which a query reads more than MOST_SCANNED rows one after the other."""
    rows = {}
    for node in plans_of(sql):
        if node["Node Type"] == "Seq Scan":
            read = (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"]
            rows[node["Relation Name"]] = max(rows.get(node["Relation Name"], 0), int(read))
    return [f"{table}: {read} rows" for table, read in rows.items() if read > MOST_SCANNED]


def faults_of(client: Client, path: str) -> list[str]:
    """What is wrong with a page: too many queries, too large, or a table that is read through."""
    with CaptureQueriesContext(connection) as queries:
        answer = client.get(path)
    if answer.status_code not in (200, 302, 403):
        return [f"{path}: {answer.status_code}"]
    faults = []
    if len(queries) > MOST_QUERIES:
        faults.append(f"{path}: {len(queries)} queries")
    size = sum(map(len, answer)) if answer.streaming else len(answer.content)
    if size > MOST_BYTES:
        faults.append(f"{path}: {size} bytes")
    for query in {query["sql"] for query in queries if query["sql"].startswith(WAYS)}:
        faults += [f"{path}: {found}, by {query[:300]}" for found in scanned(query)]
    return faults


def lists() -> list[str]:
    """The name of each model of the admin."""
    return [f"{model._meta.app_label}_{model._meta.model_name}" for model in admin.site._registry]


def filters_of(client: Client, name: str) -> list[str]:
    """The query strings that the filters beside a list offer."""
    found = client.get(reverse(f"admin:{name}_changelist")).context["cl"]
    return [choice["query_string"] for spec in found.filter_specs for choice in spec.choices(found)]


@pytest.mark.parametrize("name", lists())
def test_a_list_with_each_of_its_filters_and_its_pages(boss, name):
    path = reverse(f"admin:{name}_changelist")
    asked = ["", "?p=2", "?p=20", "?all=", "?o=1", "?o=-2", *filters_of(boss, name)]
    assert [fault for query in dict.fromkeys(asked) for fault in faults_of(boss, path + query)] == []


@pytest.mark.parametrize("name", lists())
def test_a_search(boss, name):
    customer = User.objects.order_by("-pk")[5]
    entry = LedgerEntry.objects.filter(kind="usage").latest("pk")
    sought = (customer.email, customer.email[:6], str(customer.pk), str(entry.hold_id), "no such thing", "Number 77")
    path = reverse(f"admin:{name}_changelist")
    faults = []
    for text in sought:
        answer = boss.get(path, {"q": text})
        faults += faults_of(boss, f"{path}?{answer.wsgi_request.GET.urlencode()}")
    assert faults == []


@pytest.mark.parametrize("name", lists())
def test_the_page_of_one_row_and_what_leads_from_it(boss, name):
    (model,) = (model for model in admin.site._registry if f"{model._meta.app_label}_{model._meta.model_name}" == name)
    row = model._default_manager.order_by("-pk").first()
    if row is None:
        pytest.skip("none was made")
    pages = [reverse(f"admin:{name}_{page}", args=[row.pk]) for page in ("change", "history")]
    assert [fault for path in pages for fault in faults_of(boss, path)] == []


def pages_without_arguments(patterns: Any = None, before: str = "") -> Iterator[str]:
    """The paths under /ops/ and those of the admin that are about no row."""
    for entry in get_resolver().url_patterns if patterns is None else patterns:
        route = before + str(entry.pattern)
        if isinstance(entry, URLResolver):
            yield from pages_without_arguments(entry.url_patterns, route)
        elif isinstance(entry, URLPattern) and route.startswith(("ops/", "admin/")) and not set("<^(") & set(route):
            yield f"/{route}"


def test_every_other_page(boss):
    left_out = (
        "/admin/logout/",
        "/admin/login/",
        "/ops/flower/entrance/",
        "/admin/autocomplete/",
        "/csv/",
        "stock.csv",
    )
    paths = [path for path in pages_without_arguments() if not path.endswith(left_out)]
    assert "/ops/" in paths
    assert [fault for path in paths for fault in faults_of(boss, path)] == []


def test_the_ledger_is_proven(many, django_db_blocker, capsys):
    with django_db_blocker.unblock():
        call_command("verify_ledger")
    assert "0 faults" in capsys.readouterr().out
