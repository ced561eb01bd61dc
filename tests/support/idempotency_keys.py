"""Keys and requests for the tests of Idempotency-Key."""

from inference.catalogue import DEMO_KEY

MESSAGES = [{"role": "user", "content": "Hi"}]
ASKED = {"model": DEMO_KEY, "messages": MESSAGES}
GOOD = ("order-1", "x", "a b, {c}", "x" * 65, "x" * 255)
