"""Web processes, workers, their pools and PostgreSQL's connections fit each other, or Tally says what to change."""

import logging

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import connection

from core.postgresql import capacity
from deploy import roles
from tests.core.postgresql.production import PRODUCTION, manage

ORDINARY_SERVER = 97  # PostgreSQL's default of 100, less the three that it keeps for its administrator


@pytest.fixture
def unchecked(monkeypatch, settings):
    """As in a process that has not looked yet, with the default settings."""
    monkeypatch.setattr(capacity, "_has_been_checked", False)
    settings.WEB_MACHINES, settings.WEB_WORKERS, settings.GPU_WORKERS = 1, 1, 1
    settings.DATABASE_POOL_SIZE, settings.PGBOUNCER = 20, False
    return settings


def test_the_defaults_fit_an_ordinary_server(unchecked):
    assert capacity.needed() == 60
    assert capacity.missing_connections(ORDINARY_SERVER) == ""


def test_two_web_machines_and_three_workers_are_told_what_fits(unchecked):
    unchecked.WEB_MACHINES, unchecked.WEB_WORKERS, unchecked.GPU_WORKERS = 2, 4, 3
    assert capacity.needed() == 8 * 20 + 3 * 20 + 20
    finding = capacity.missing_connections(ORDINARY_SERVER)
    assert "97 connections" in finding
    assert "may open 240" in finding
    assert "DATABASE_POOL_SIZE to 7 or less" in finding
    assert "143 more (max_connections" in finding
    unchecked.DATABASE_POOL_SIZE = 7
    assert capacity.missing_connections(ORDINARY_SERVER) == ""
    unchecked.DATABASE_POOL_SIZE = 8
    assert capacity.missing_connections(ORDINARY_SERVER)


def test_where_no_pool_of_a_useful_size_fits_only_the_server_can_change(unchecked):
    unchecked.WEB_MACHINES = 30
    finding = capacity.missing_connections(ORDINARY_SERVER)
    assert "DATABASE_POOL_SIZE to" not in finding
    assert "let PostgreSQL give it" in finding


def test_the_workers_without_models_are_counted_as_they_are_started():
    assert sum(threads + 2 for threads in roles.SIDE_WORKERS.values()) + 2 == capacity.SIDE_CONNECTIONS


def test_a_server_with_too_few_is_refused_or_told_of(db, unchecked, caplog):
    unchecked.WEB_MACHINES = 400
    with caplog.at_level(logging.WARNING):  # a worker of another test may have raised it
        capacity.refuse_small_server(connection.connection)
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "400 x 1 web processes" in caplog.text


def test_production_refuses_it_and_looks_once(db, unchecked):
    unchecked.DEMAND_ENOUGH_CONNECTIONS = True
    unchecked.WEB_MACHINES = 400
    with pytest.raises(ImproperlyConfigured, match="400 x 1 web processes"):
        capacity.refuse_small_server(connection.connection)
    unchecked.WEB_MACHINES = 1
    capacity.refuse_small_server(connection.connection)
    unchecked.WEB_MACHINES = 400
    capacity.refuse_small_server(connection.connection)


def test_the_limit_of_the_role_counts_too(db, unchecked):
    unchecked.DEMAND_ENOUGH_CONNECTIONS = True
    with connection.cursor() as cursor:
        cursor.execute(capacity.LIMIT)
        [whole] = cursor.fetchone()
        cursor.execute(capacity.LIMIT.replace("rolconnlimit", "7"))
        assert cursor.fetchone() == (7,)
    assert 50 < whole < 1000


def test_behind_pgbouncer_its_own_limit_counts(db, unchecked):
    unchecked.DEMAND_ENOUGH_CONNECTIONS, unchecked.PGBOUNCER, unchecked.WEB_MACHINES = True, True, 400
    capacity.refuse_small_server(connection.connection)


@pytest.mark.parametrize(
    "process",
    [
        ["-c", "import config.asgi"],
        ["-m", "celery", "-A", "config", "worker", "-n", "many@%h", "--pool=solo", "-Q", "nothing"],
    ],
    ids=["web", "worker"],
)
def test_no_process_of_production_starts_with_a_server_too_small(db, process):
    login = connection.settings_dict
    url = f"postgres://{login['USER']}:{login['PASSWORD']}@{login['HOST']}:{login['PORT']}/{login['NAME']}"
    begun = manage(url, "", *process, **PRODUCTION, WEB_MACHINES="400")
    assert begun.returncode != 0
    assert "400 x 1 web processes" in begun.stderr
