"""Database queries of asynchronous views that stream."""

from collections.abc import Callable
from typing import TypeVar

from asgiref.sync import sync_to_async
from django.db import connection

T = TypeVar("T")


async def in_thread(function: Callable[[], T]) -> T:
    """Run `function`, which queries, in the request's thread, and return its result.

    The database connection goes back to the pool right after it, because a stream may last minutes.
    """

    def run() -> T:
        try:
            return function()
        finally:
            connection.close()

    return await sync_to_async(run)()
