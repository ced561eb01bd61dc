"""Celery tasks: one a generation on `generate.<model key>`, and the sweeper on `default`."""

from uuid import UUID

from celery import shared_task

from inference.services import sweep_generations as sweep
from inference.worker import current_worker


@shared_task(name="inference.generate", ignore_result=True)
def generate(*, generation_id: str) -> None:
    """Write one answer. Delivered twice, the second finds the row claimed and ends."""
    current_worker().run(UUID(generation_id))


@shared_task(name="inference.sweep_generations", queue="default", ignore_result=True)
def sweep_generations() -> None:
    """End what nobody works on any more."""
    sweep()
