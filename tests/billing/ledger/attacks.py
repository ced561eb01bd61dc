"""Attacks on the database, and its refusal."""

import pytest
from django.db import IntegrityError, ProgrammingError, connection, transaction

REFUSED = (IntegrityError, ProgrammingError)  # by a wall; or the application's role may not even try


def refused(work, error=REFUSED, match=None):
    """Run an attack and demand that the database refuses it; with `match`, in these words."""
    with pytest.raises(error, match=match), transaction.atomic():
        work()


def sql(statement, *parameters):
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
