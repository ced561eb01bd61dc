"""The endpoint to which Stripe reports. It accepts only signed events."""

import logging
from http import HTTPStatus

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from billing.stripe import events
from billing.stripe.events import Outcome
from billing.stripe.provider import NAME, ForgedEvent, verify_event

logger = logging.getLogger(__name__)

MOST_BODY_BYTES = 512 * 1024

# Stripe sends an event again, for three days, unless the answer is 2xx. For a foreign event that would not help.
STATUS = {
    Outcome.DONE: HTTPStatus.OK,
    Outcome.FOREIGN: HTTPStatus.OK,
    Outcome.TOO_EARLY: HTTPStatus.CONFLICT,
    Outcome.FAILED: HTTPStatus.INTERNAL_SERVER_ERROR,
}


@csrf_exempt
@require_POST
def stripe_webhook(request: HttpRequest) -> HttpResponse:
    """Receive one event: answer 400 unless Stripe signed it, then store it and process it once."""
    if NAME not in settings.PAYMENT_PROVIDERS:
        return HttpResponse(status=HTTPStatus.NOT_FOUND)
    body = request.read(MOST_BODY_BYTES + 1)  # not .body: a chunked request has no length to check
    if len(body) > MOST_BODY_BYTES:
        return HttpResponse(status=HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
    try:
        event = verify_event(body, request.headers.get("Stripe-Signature"))
    except ForgedEvent as forged:
        logger.warning("a webhook was refused: %s", forged)
        return HttpResponse(status=HTTPStatus.BAD_REQUEST)
    return HttpResponse(status=STATUS[events.receive_event(event=event)])
