"""Those who ask in a storm: each notes what it was given, so that it can be compared with what was charged."""

import http.client
import json
import threading
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from uuid import UUID, uuid4

from tests.e2e.asking import STORY_TELLER
from tests.faults.customers import Customer

BODY = {"model": STORY_TELLER, "prompt": "Once upon a time", "temperature": 0.8}
AWAY = (OSError, http.client.HTTPException, json.JSONDecodeError)
TIMEOUT_SECONDS = 150


@dataclass
class Notes:
    """What one client was given: ids of whole answers, of streams that broke off, and of keyed answers by their key."""

    whole: set[UUID] = field(default_factory=set)
    broken: set[UUID] = field(default_factory=set)
    keyed: dict[str, set[UUID]] = field(default_factory=dict)
    unanswered: set[str] = field(default_factory=set)
    tries: int = 0


class Client:
    """One customer in a thread: asks in one way, again and again, until the storm is over."""

    def __init__(self, customer: Customer, way: str, over: threading.Event) -> None:
        self.customer, self.way, self.notes = customer, way, Notes()
        ways = {"plain": self._plain, "streamed": self._streamed, "keyed": self._keyed, "native": self._native}
        self._ask = ways[way]
        self._over = over

    def run(self) -> None:
        """Until the storm is over; what was begun is ended."""
        while not self._over.is_set():
            self.notes.tries += 1
            self._ask(20 + self.notes.tries * 37 % 160)
            time.sleep(0.3)

    def _open(self, path: str, body: dict, **headers: str):  # type: ignore[no-untyped-def]
        request = urllib.request.Request(self.customer.stack.url + path, json.dumps(body).encode(), headers=headers)
        request.add_header("Authorization", f"Bearer {self.customer.key}")
        request.add_header("Content-Type", "application/json")
        return urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS)

    def _plain(self, tokens: int) -> None:
        try:
            with self._open("/v1/completions", BODY | {"max_tokens": tokens}) as answer:
                self.notes.whole.add(_id_of(json.load(answer)))
        except AWAY:
            time.sleep(0.5)

    def _streamed(self, tokens: int) -> None:
        begun, is_whole = None, False
        try:
            with self._open("/v1/completions", BODY | {"max_tokens": tokens, "stream": True}) as answer:
                for line in answer:
                    if line == b"data: [DONE]\n":
                        is_whole = True
                    elif line.startswith(b'data: {"id"'):
                        begun = _id_of(json.loads(line[6:]))
        except AWAY:
            time.sleep(0.5)
        if begun is not None:
            (self.notes.whole if is_whole else self.notes.broken).add(begun)

    def _keyed(self, tokens: int) -> None:
        """The same request until it is answered, as a program does that must have its answer."""
        key, end = str(uuid4()), time.monotonic() + 300
        while time.monotonic() < end:
            try:
                body = BODY | {"max_tokens": tokens}
                with self._open("/v1/completions", body, **{"Idempotency-Key": key}) as answer:
                    self.notes.keyed.setdefault(key, set()).add(_id_of(json.load(answer)))
                    return
            except AWAY:
                time.sleep(1)
        self.notes.unanswered.add(key)

    def _native(self, tokens: int) -> None:
        """An answer that is saved for its customer, whatever becomes of this request; and a page."""
        try:
            with self._open("/api/v1/generations", BODY | {"max_tokens": tokens}):
                pass
            with urllib.request.urlopen(f"{self.customer.stack.url}/accounts/login/", timeout=30):
                pass
        except AWAY:
            time.sleep(0.5)


def _id_of(body: dict) -> UUID:  # type: ignore[type-arg]
    return UUID(body["id"].partition("-")[2])
