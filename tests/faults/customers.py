"""Customers who go on while servers fail."""

import json
import threading
import urllib.error
import urllib.request
from contextlib import contextmanager, suppress
from uuid import uuid4

import psutil
import psycopg
import redis

from tests.e2e.asking import COMPLETION_PRICE, PROMPT_PRICE, STORY_TELLER
from tests.support.stack import wait_until

CREDITS = 10_000_000
ENDED = ("completed", "stopped", "cancelled", "failed")
NEW_CUSTOMER = """
from accounts import api_keys
from accounts.models import User
from billing import ledger
user = User.objects.create_user({email!r}, "servers-fail-2026")
ledger.grant(user=user, kind="bonus", amount_microcredits={amount}, idempotency_key={email!r}, reason="test")
print(api_keys.create_key(user=user, name="test", scopes=["chat"])[1])
"""


class Customer:
    """Somebody with a key, new for each test."""

    def __init__(self, stack):
        self.stack = stack
        self.email = f"faults-{uuid4().hex[:8]}@example.com"
        script = NEW_CUSTOMER.format(email=self.email, amount=CREDITS)
        self.key = stack.manage("shell", "--no-imports", "-c", script).strip().splitlines()[-1]

    def call(self, path, body=None):
        """Status and JSON; 0 when the connection broke."""
        try:
            with self.open(path, body) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read() or b"{}")
        except OSError:
            return 0, {}

    def open(self, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.stack.url + path, data)
        request.add_header("Authorization", f"Bearer {self.key}")
        request.add_header("Content-Type", "application/json")
        return urllib.request.urlopen(request, timeout=120)

    def ask(self, max_tokens=60):
        body = {"model": STORY_TELLER, "prompt": "Once upon a time", "max_tokens": max_tokens, "temperature": 0.8}
        return self.call("/api/v1/generations", body)

    def stream(self, max_tokens=60):
        """An answer over OpenAI's API, read in a thread: the list of its data lines, growing."""
        lines = []
        body = {"model": STORY_TELLER, "prompt": "Once upon", "max_tokens": max_tokens, "stream": True}

        def read():
            with self.open("/v1/completions", body) as answer:
                lines.extend(
                    line.decode().removeprefix("data: ").strip() for line in answer if line.startswith(b"data")
                )

        thread = threading.Thread(target=read)
        thread.start()
        return thread, lines

    def rows(self):
        return self.stack.query(
            "SELECT g.id, g.state, g.prompt_tokens, g.completion_tokens, g.text, h.state FROM inference_generation g"
            " JOIN billing_hold h ON h.id = g.hold_id JOIN accounts_user u ON u.id = g.user_id WHERE email = %s"
            " ORDER BY g.created_at",
            self.email,
        )

    def wait_running(self, count):
        """Until as many answers are there, the model being loaded, and the relay has text of each."""
        client = redis.Redis.from_url(self.stack.redis.url, decode_responses=True)

        def has_text(row):
            return any("text" in fields for _id, fields in client.xrange(f"generation:{row[0]}"))

        wait_until(lambda: len(self.rows()) == count, 60, "the requests are there")
        wait_until(lambda: all(has_text(row) for row in self.rows()), 120, "text of each")

    def wait_ended(self):
        wait_until(lambda: all(row[1] in ENDED for row in self.rows()), 180, "all have ended")
        return self.rows()

    def demand_exact_charge(self):
        """Answers that ended well cost their tokens, the others nothing, and nothing is held."""
        rows = self.rows()
        spent = sum(row[2] * PROMPT_PRICE + row[3] * COMPLETION_PRICE for row in rows if row[1] == "completed")
        assert self.stack.wallet(self.email) == (CREDITS - spent, 0)
        assert {row[5] for row in rows if row[1] == "completed"} <= {"settled"}
        assert {row[5] for row in rows if row[1] == "failed"} <= {"released"}
        self.stack.verify_ledger()

    def demand_next_answer(self):
        """Tally works again."""
        wait_until(lambda: self.ask(max_tokens=3)[0] == 201, 60, "a request is taken")
        assert self.wait_ended()[-1][1] == "completed"


def warm_up(stack):
    """The model is loaded: importing torch may take a slow machine longer than a worker may be silent."""
    somebody = Customer(stack)

    def is_answered():
        assert somebody.ask(max_tokens=3)[0] == 201
        return somebody.wait_ended()[-1][1] == "completed"

    wait_until(is_answered, 180, "a first answer")


def family(pid):
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


@contextmanager
def paused(pid):
    """Nobody gets an answer from this server, and no refusal either, as behind a network that has gone."""
    stopped = family(pid)
    try:
        for process in stopped:
            with suppress(psutil.NoSuchProcess):  # a child that has just ended
                process.suspend()
        yield
    finally:
        for process in stopped:
            with suppress(psutil.NoSuchProcess):  # a child that was ending: its parent, awake again, has buried it
                process.resume()


def is_answering(stack):
    try:
        return stack.query("SELECT 1") == [(1,)]
    except psycopg.OperationalError:
        return False
