"""Refunds by staff."""

from uuid import uuid4

from billing.refunds import requests


def ask(by, amount, key=None, reason="A poor answer", **target):
    return requests.request_refund(by=by, amount=amount, reason=reason, idempotency_key=key or str(uuid4()), **target)
