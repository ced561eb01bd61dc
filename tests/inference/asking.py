"""Answers that the tests ask for."""

import threading
import time
from uuid import uuid4

from inference.generations.parameters import Parameters
from inference.generations.requesting import request_generation
from inference.prompting.prompts import Conversation, Turn

PROMPT, COMPLETION = 20, 40


def ask(user, model, max_tokens=20, key=None, text="Tell me a story."):
    return request_generation(
        user=user,
        model=model,
        prompt=Conversation([Turn("user", text)]),
        parameters=Parameters(max_tokens=max_tokens),
        idempotency_key=key or str(uuid4()),
        inputs_hash="test",
    )


def charge(user):
    """What the wallet has paid so far, and what is held."""
    user.wallet.refresh_from_db()
    granted = sum(user.wallet.entries.filter(kind="bonus").values_list("amount_microcredits", flat=True))
    return granted - user.wallet.balance_microcredits, user.wallet.held_microcredits


def in_thread(work, *args):
    thread = threading.Thread(target=work, args=args)
    thread.start()
    return thread


def wait_for(condition, seconds=10):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.01)
