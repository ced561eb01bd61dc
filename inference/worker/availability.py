"""Updates a model's availability in the catalogue after a worker tried to load it.

If the process dies inside a function, generations that are still queued fail one by one as a worker takes them, and
the worker's next try corrects the model's row.
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
    """Make a loaded model available to customers, unless prompts cannot be composed for it."""
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
    """Save the reason, and fail the model's queued generations with it. Their holds are released: they cost nothing.

    `by` is the name of the worker that could not load the model. If another worker has it loaded, nothing changes.
    """
    if any(key in worker.ready_models for worker in status.read_workers() if worker.name != by):
        return
    CatalogueModel.objects.filter(pk=key).update(unavailable_reason=reason[:300])
    waiting = Generation.objects.filter(model_id=key, state=GenerationState.QUEUED).order_by("created_at")
    for generation_id in waiting.values_list("pk", flat=True):
        if fail_generation(generation_id=generation_id, error=reason[:300]) is not None:
            writer.RelayWriter(generation_id).end(GenerationState.FAILED)
