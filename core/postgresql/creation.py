"""Test databases: the owner creates them, because the application's role may not."""

from typing import Any

from django.db.backends.postgresql import creation

from core.postgresql.roles import as_owner


class DatabaseCreation(creation.DatabaseCreation):
    """Creates and drops test databases as the owner. The tests run as the application's role."""

    def create_test_db(self, *arguments: Any, **options: Any) -> str:
        with as_owner(self.connection):
            return super().create_test_db(*arguments, **options)

    def destroy_test_db(self, *arguments: Any, **options: Any) -> None:
        with as_owner(self.connection):
            super().destroy_test_db(*arguments, **options)
