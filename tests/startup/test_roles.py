"""What `startup.py` starts runs as a role that owns nothing, and does not know the owner's log-in."""

import psutil
import psycopg

from core.postgresql.roles import might_of
from tests.support.stack import Stack

OURS = ("web", "gpu-worker", "default-worker", "mail-worker", "proof-worker", "beat", "flower")


def test_the_application_runs_as_a_role_that_owns_nothing(stack: Stack) -> None:
    with psycopg.connect(stack.runtime["database_url"]) as connection:
        assert might_of(connection) == []
    logged_in = (
        "SELECT DISTINCT usename::text FROM pg_stat_activity WHERE datname = 'tally' AND pid <> pg_backend_pid()"
    )
    assert stack.query(logged_in) == [("tally_app",)]


def test_no_process_of_the_application_knows_the_owner(stack: Stack) -> None:
    password = stack.runtime["database_owner_url"].split(":")[2].partition("@")[0]
    for name in OURS:
        assert password not in str(psutil.Process(stack.pid(name)).environ()), name
