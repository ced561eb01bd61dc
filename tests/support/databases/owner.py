"""The owner's rights, for tests that take a wall down, or empty tables. The tests themselves log in as the application.

`as_owner` runs a statement within the test's own transaction, by a function that only test databases have.
"""

from typing import Any

import psycopg
from django.conf import settings
from django.db import connection
from psycopg import sql

INSTALL = """
CREATE SCHEMA IF NOT EXISTS testing;
GRANT USAGE ON SCHEMA testing TO PUBLIC;
CREATE OR REPLACE FUNCTION testing.as_owner(statement text) RETURNS void LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = public AS $$ BEGIN EXECUTE statement; END $$;
"""


def connect(database: str = "") -> "psycopg.Connection[Any]":
    """A connection of the owner's, to the database of the tests or another one."""
    from environ import Env

    login = connection.settings_dict
    if settings.DATABASE_OWNER_URL:
        login = login | Env.db_url_config(settings.DATABASE_OWNER_URL) | {"NAME": login["NAME"]}
    login = login | {"NAME": database or login["NAME"]}
    names = {"host": "HOST", "port": "PORT", "user": "USER", "password": "PASSWORD", "dbname": "NAME"}
    return psycopg.connect(**{name: login[key] or None for name, key in names.items()})


def install() -> None:
    """Make the function in the database of the tests."""
    with connect() as owner:
        owner.execute(INSTALL)


def as_owner(statement: str, *parameters: Any) -> None:
    """Run a statement with the owner's rights, here and now; `{}` stands for a parameter."""
    with connection.cursor() as cursor:
        if parameters:
            statement = sql.SQL(statement).format(*parameters).as_string(cursor.connection)
        cursor.execute("SELECT testing.as_owner(%s)", [statement])
