"""Events as Stripe signs and sends them."""

import hashlib
import hmac
import json
import time
from typing import Any

Json = dict[str, Any]
SECRET = "whsec_the_tests_own"
WEBHOOK = "/credits/webhooks/stripe/"


def sign(body: bytes, *, secret: str = SECRET, at: float | None = None) -> str:
    """The Stripe-Signature header of a body."""
    moment = int(time.time() if at is None else at)
    digest = hmac.new(secret.encode(), f"{moment}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={moment},v1={digest}"


def deliver(event: Json, **signing: Any) -> int:
    """Post an event to the webhook, signed, as its own client so that threads may; returns the status."""
    from django.test import Client

    body = json.dumps(event).encode()
    return post(Client(raise_request_exception=False, enforce_csrf_checks=True), body, sign(body, **signing))


def post(client: Any, body: bytes, signature: str | None) -> int:
    """Post a body with this signature, or with none."""
    headers = {} if signature is None else {"Stripe-Signature": signature}
    return int(client.post(WEBHOOK, body, content_type="application/json", headers=headers).status_code)
