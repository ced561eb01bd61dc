"""What the catalogue says about a model after a worker tried to load it.

Each function may die anywhere: generations that are still queued then fail one by one as their tasks reach a worker,
and the worker's next try puts the row right.
"""

import logging

from inference.catalogue import ModelUnavailable
from inference.generations.endings import fail_generation
from inference.models import CatalogueModel, Generation, GenerationState
from inference.prompting.prompts import check_prompting
from inference.relay import writer
from inference.worker import status

logger = logging.getLogger(__name__)


def mark_available(*, key: str) -> None:
    """The model is loaded: customers may ask it again, unless their prompts cannot be written for it."""
    model = CatalogueModel.objects.filter(pk=key).exclude(unavailable_reason="").first()
    if model is None:
        return
    try:
        check_prompting(model)
        reason = ""
    except ModelUnavailable as unavailable:
        reason = str(unavailable)[:300]
    if CatalogueModel.objects.filter(pk=key).exclude(unavailable_reason=reason).update(unavailable_reason=reason):
        logger.info("%s is %s", key, reason or "available again")


def mark_unavailable(*, key: str, reason: str, by: str) -> None:
    """Say why, and end what waits for it: holds are released and the customers told. It costs them nothing.

    `by` is the worker that could not load it. When another one has it loaded, the model stays available.
    """
    if any(key in worker.ready_models for worker in status.read_workers() if worker.name != by):
        return
    CatalogueModel.objects.filter(pk=key).update(unavailable_reason=reason[:300])
    waiting = Generation.objects.filter(model_id=key, state=GenerationState.QUEUED).order_by("created_at")
    for generation_id in waiting.values_list("pk", flat=True):
        if fail_generation(generation_id=generation_id, error=reason[:300]) is not None:
            writer.RelayWriter(generation_id).end(GenerationState.FAILED)
