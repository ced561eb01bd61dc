"""Holds and charges that the tests of money make."""

from uuid import uuid4

from billing import ledger

PROMPT_PRICE, COMPLETION_PRICE = 20, 40  # gemma-3-270m, microcredits per token


def open_hold(user, prompt_tokens=10, max_completion_tokens=100, reference=None):
    return ledger.hold(
        user=user,
        model_key="gemma-3-270m",
        prompt_tokens=prompt_tokens,
        max_completion_tokens=max_completion_tokens,
        reference=reference or f"test:{uuid4()}",
    )


def charge_from_cache(user, prompt_tokens=10, completion_tokens=3, reference=None):
    return ledger.charge_from_cache(
        user=user,
        model_key="gemma-3-270m",
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
        reference=reference or f"test:{uuid4()}",
    )
