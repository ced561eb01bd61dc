"""Celery tasks: tickets on `generate.<model key>`; the sweeper and what follows an end on `default`."""

from uuid import UUID

from celery import shared_task

from inference.generations import deliveries, single_flight
from inference.generations.endings import sweep_generations as sweep
from inference.generations.tickets import TASK
from inference.worker.process import current_worker


@shared_task(name=TASK, ignore_result=True)
def generate(*, model_key: str) -> None:
    """Answer the rows of this model that wait. Delivered twice, the second finds none and ends."""
    current_worker().serve(model_key)


@shared_task(name="inference.sweep_generations", queue="default", ignore_result=True)
def sweep_generations() -> None:
    """End what nobody works on or hands over any more, then see to those that wait for an identical answer."""
    sweep()
    deliveries.sweep_deliveries()
    single_flight.sweep_followers()


@shared_task(name="inference.pass_on", queue="default", ignore_result=True)
def pass_on(*, leader_id: str) -> None:
    """See to those that waited for an answer that has ended."""
    single_flight.pass_on(leader_id=UUID(leader_id))
