"""Test databases are the owner's: the application may not make one."""

from typing import Any

from django.db.backends.postgresql import creation

from core.postgresql.roles import as_owner


class DatabaseCreation(creation.DatabaseCreation):
    """Makes and drops them as the owner; the tests then run as the application."""

    def create_test_db(self, *arguments: Any, **options: Any) -> str:
        with as_owner(self.connection):
            return super().create_test_db(*arguments, **options)

    def destroy_test_db(self, *arguments: Any, **options: Any) -> None:
        with as_owner(self.connection):
            super().destroy_test_db(*arguments, **options)
