"""Model instances from hand-written SQL.

The ORM takes several times longer to compose a query than PostgreSQL takes to run it. So the few reads that every API
request makes are written in SQL; all others go through the ORM (docs/adr/0010).
"""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, TypeVar

from django.db import connection
from django.db.models import Model

M = TypeVar("M", bound=Model)


@cache
def columns(model: type[Model], alias: str) -> str:
    """All columns of a model as a SELECT or RETURNING lists them, in the order that `instance` wants."""
    return ", ".join(f'{alias}."{field.column}"' for field in model._meta.concrete_fields)


@cache
def width(model: type[Model]) -> int:
    """The number of columns of a model."""
    return len(model._meta.concrete_fields)


@cache
def _names(model: type[Model]) -> list[str]:
    return [field.attname for field in model._meta.concrete_fields]


def instance(model: type[M], row: Sequence[Any]) -> M:
    """Make an instance of a row that was selected with `columns`."""
    return model.from_db(connection.alias, _names(model), row)


def fetch_one(statement: str, parameters: Sequence[Any]) -> tuple[Any, ...] | None:
    """The first row of a statement, None without one."""
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        row: tuple[Any, ...] | None = cursor.fetchone()
    return row


def fetch_all(statement: str, parameters: Sequence[Any] | Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """All rows of a statement."""
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        rows: list[tuple[Any, ...]] = cursor.fetchall()
    return rows
