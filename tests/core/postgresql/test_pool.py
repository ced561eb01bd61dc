"""The pool gives out only connections that live, and asks the server only when there is a reason to."""

import select
import socket
from copy import deepcopy

import psycopg
import pytest
from django.db import connection
from psycopg_pool import ConnectionPool

from core.postgresql.base import DatabaseWrapper, is_alive


@pytest.fixture
def pooled(db):
    """The test database behind a pool of its own; the others have none in tests."""
    settings = deepcopy(connection.settings_dict)
    settings["OPTIONS"]["pool"] = {"min_size": 1, "max_size": 1, "timeout": 5}
    wrapper = DatabaseWrapper(settings, alias="pooled")
    wrapper.inc_thread_sharing()
    yield wrapper
    wrapper.close()
    wrapper.close_pool()


def borrow(pooled):
    pooled.ensure_connection()
    return pooled.connection


def other_session(pooled):
    return psycopg.connect(**pooled.get_connection_params(), autocommit=True)


def end_from_outside(pooled, borrowed):
    """As when the server restarts: it says so, and closes the socket."""
    with other_session(pooled) as other:
        other.execute("SELECT pg_terminate_backend(%s)", [borrowed.info.backend_pid])
    assert select.select([borrowed], [], [], 5)[0]


def test_a_connection_comes_back_without_a_question(pooled, monkeypatch):
    first = borrow(pooled)
    pooled.close()
    monkeypatch.setattr(ConnectionPool, "check_connection", lambda *_: pytest.fail("the server was asked"))
    assert borrow(pooled) is first


def test_a_connection_that_was_ended_is_replaced(pooled):
    first = borrow(pooled)
    pooled.close()
    end_from_outside(pooled, first)
    assert borrow(pooled) is not first
    assert pooled.is_usable()
    assert first.closed


def test_all_that_were_ended_are_replaced(pooled):
    pool = pooled.pool
    pool.resize(1, 4)
    pool.open()
    borrowed = [pool.getconn() for _ in range(4)]
    for each in borrowed:
        pool.putconn(each)
    for each in borrowed:
        end_from_outside(pooled, each)
    for _ in range(4):
        assert borrow(pooled) not in borrowed
        pooled.close()


def test_a_server_that_says_something_is_asked_whether_it_lives(pooled):
    first = borrow(pooled)
    first.execute("LISTEN pool_test")
    pooled.close()
    with other_session(pooled) as other:
        other.execute("NOTIFY pool_test")
    assert select.select([first], [], [], 5)[0]
    assert is_alive(first)
    assert borrow(pooled) is first


def test_a_connection_that_is_closed_on_either_side_does_not_live(pooled):
    with other_session(pooled) as one:
        assert is_alive(one)
        with socket.socket(fileno=socket.dup(one.fileno())) as wire:
            wire.shutdown(socket.SHUT_RDWR)
        assert not is_alive(one)
    assert one.closed
    assert not is_alive(one)
