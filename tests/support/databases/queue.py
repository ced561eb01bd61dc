"""The queues as the tests see them: what was really sent to the broker, forgotten, or run here and now."""

from queue import Empty
from typing import Any

from celery import current_app

from accounts.mail.outbox import QUEUE as MAIL
from inference.generations.tickets import open_ticket
from inference.models import CatalogueModel
from tests.support.databases.redis_admin import admin

QUEUES = ("default", MAIL)  # in the order in which `take_tasks` looks


def clear_queue() -> None:
    """Forget what earlier tests sent."""
    with current_app.connection_for_write() as connection:
        for name in QUEUES:
            connection.SimpleQueue(name).clear()


def forget_tickets(model: CatalogueModel) -> None:
    """As if no worker had been called for what waits for this model."""
    admin().delete(model.queue)
    open_ticket(model.key)


def take_tasks(*queues: str) -> list[tuple[str, dict[str, Any]]]:
    """Take everything that waits, in these queues or in all: names and keyword arguments, in order."""
    taken = []
    with current_app.connection_for_write() as connection:
        for name in queues or QUEUES:
            waiting = connection.SimpleQueue(name)
            while True:
                try:
                    message = waiting.get(block=False)
                except Empty:
                    break
                message.ack()
                taken.append((message.headers["task"], message.payload[1]))
            waiting.close()
    return taken


def run_tasks() -> list[str]:
    """Run what waits, and what that sends, until nothing does; return the names."""
    current_app.loader.import_default_modules()
    names = []
    while tasks := take_tasks():
        for name, arguments in tasks:
            current_app.tasks[name].apply(kwargs=arguments, throw=True)
            names.append(name)
    return names
