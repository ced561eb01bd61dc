"""How views that stream ask the database."""

from collections.abc import Callable
from typing import TypeVar

from asgiref.sync import sync_to_async
from django.db import connection

T = TypeVar("T")


async def in_thread(function: Callable[[], T]) -> T:
    """Run a query in the request's thread and give its connection back at once: a stream may last minutes."""

    def run() -> T:
        try:
            return function()
        finally:
            connection.close()

    return await sync_to_async(run)()
