"""The status page: how each model does, in words for customers."""

import logging
from typing import Any

from django.db import DatabaseError, InterfaceError
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.utils import timezone

from accounts.pages.public_pages import public_page, render_once
from monitoring.model_states import SLOW_SECONDS, ModelState, State, read_model_states

logger = logging.getLogger(__name__)

KEPT_SECONDS = 10  # by browsers and proxies, and by Redis for all of them


@public_page(KEPT_SECONDS)
def status(_request: HttpRequest) -> HttpResponse:
    """How the models do. If that cannot be seen, the page says so."""
    return HttpResponse(render_once("status", _render, KEPT_SECONDS))


def _render() -> str:
    context: dict[str, Any] = {"looked_at": timezone.now(), "slow_seconds": SLOW_SECONDS}
    try:
        models = read_model_states()
    except (DatabaseError, InterfaceError) as error:
        logger.warning("the status page cannot see the models: %s", type(error).__name__)
        return render_to_string("monitoring/status.html", context | {"is_blind": True})
    return render_to_string("monitoring/status.html", context | {"models": models, **_sum_up(models)})


def _sum_up(models: list[ModelState]) -> dict[str, bool]:
    """Whether every model that is offered answers at once, and whether none answers at all."""
    states = [model.state for model in models if model.state != State.NOT_OFFERED]
    return {
        "is_all_up": bool(states) and all(state in (State.UP, State.ASLEEP) for state in states),
        "is_all_down": all(state == State.DOWN for state in states),
    }
