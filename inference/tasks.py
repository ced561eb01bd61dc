"""The Celery tasks: `generate` on the queues `generate.<model key>`, all others on the queue `default`."""

from uuid import UUID

from celery import shared_task

from inference.generations import deliveries, single_flight
from inference.generations.endings import sweep_generations as sweep
from inference.generations.tickets import TASK
from inference.worker.process import current_worker


@shared_task(name=TASK, ignore_result=True)
def generate(*, model_key: str) -> None:
    """Answer the queued generations of this model. If the task is delivered twice, the second run finds none."""
    current_worker().serve(model_key)


@shared_task(name="inference.sweep_generations", queue="default", ignore_result=True)
def sweep_generations() -> None:
    """Fail generations whose worker is silent or that were queued too long.

    Then give up lost deliveries, and pass on answers that followers still wait for.
    """
    sweep()
    deliveries.sweep_deliveries()
    single_flight.sweep_followers()


@shared_task(name="inference.pass_on", queue="default", ignore_result=True)
def pass_on(*, leader_id: str) -> None:
    """Give the text of an ended answer to its followers. The oldest one that cannot get it is generated next."""
    single_flight.pass_on(leader_id=UUID(leader_id))
