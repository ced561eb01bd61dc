"""Celery tasks: one a generation on `generate.<model key>`, and the sweeper on `default`."""

from celery import shared_task

from inference.services import sweep_generations as sweep
from inference.worker import current_worker


@shared_task(name="inference.generate", ignore_result=True)
def generate(*, model_key: str, generation_id: str) -> None:  # noqa: ARG001  the id is for who watches the queue
    """Answer the next fair row of this model. Delivered twice, the second finds none and ends."""
    current_worker().serve(model_key)


@shared_task(name="inference.sweep_generations", queue="default", ignore_result=True)
def sweep_generations() -> None:
    """End what nobody works on any more."""
    sweep()
