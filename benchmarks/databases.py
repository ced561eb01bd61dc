"""An empty database for a benchmark, what its owner does there, and how figures are told."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import django


def setup() -> None:
    """Load Django."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings.local")
    django.setup()


@contextmanager
def empty_database() -> Iterator[None]:
    """A migrated database of its own, dropped afterwards."""
    from django.db import connection

    name = connection.settings_dict["NAME"]
    connection.settings_dict["TEST"]["NAME"] = f"tally_benchmark_{os.getpid()}"
    connection.creation.create_test_db(verbosity=0)
    try:
        yield
    finally:
        connection.creation.destroy_test_db(name, verbosity=0)


def run_sql(statement: str, parameters: dict[str, Any] | None = None) -> None:
    """As the owner: the application may neither make tables nor take the walls down."""
    import psycopg
    from django.db import connection

    from core.postgresql.roles import as_owner

    with as_owner(connection):
        connection.ensure_connection()
        # The values in its text: it may be several statements.
        with psycopg.ClientCursor(connection.connection) as cursor:
            cursor.execute(statement.encode(), parameters)


def tell(results: dict[str, Any], file: Path | None) -> None:
    """Print a line for each figure, and write all of them to the file."""
    for name, value in results.items():
        print(f"{name:36} {round(value, 3) if isinstance(value, float) else value}")
    if file:
        file.write_text(json.dumps(results, indent=2) + "\n")
