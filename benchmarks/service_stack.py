"""A stack that a benchmark asks, and the clients who ask it."""

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parents[1]
MODEL = "gemma-3-270m"
QUESTION = "Why is the sky blue?"
PATH = "/v1/chat/completions"
LAST_CHUNK, FIRST_TEXT = b"\r\n0\r\n\r\n", re.compile(rb'"content":"[^"]')


@dataclass(slots=True)
class Answer:
    """What one client got; times are seconds from its request."""

    status: int
    seconds: float
    first_seconds: float = 0.0
    body: bytes = b""
    chunks: list[bytes] = field(default_factory=list)


class Client:
    """One connection that stays open, and the key of one customer."""

    def __init__(self, url: str, key: str) -> None:
        address = urlsplit(url)
        self._host, self._port = address.hostname or "127.0.0.1", address.port or 80
        self._key = key
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def ask(self, *, tokens: int, stream: bool, seconds: float = 120) -> Answer:
        """One answer, plain or streamed."""
        body = {"model": MODEL, "messages": [{"role": "user", "content": QUESTION}], "max_tokens": tokens}
        if stream:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        async with asyncio.timeout(seconds):
            return await self._post(json.dumps(body).encode())

    async def close(self) -> None:
        """Hang up."""
        if self._writer is not None:
            self._writer.close()
            self._reader = self._writer = None

    async def _post(self, body: bytes) -> Answer:
        if self._writer is None or self._reader is None:
            self._reader, self._writer = await asyncio.open_connection(self._host, self._port, limit=2**20)
        started = time.perf_counter()
        head = (
            f"POST {PATH} HTTP/1.1\r\nHost: {self._host}\r\nAuthorization: Bearer {self._key}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        self._writer.write(head.encode() + body)
        lines = (await self._reader.readuntil(b"\r\n\r\n")).lower().split(b"\r\n")
        answer = Answer(int(lines[0].split()[1]), 0.0)
        headers = dict(line.split(b": ", 1) for line in lines[1:] if b": " in line)
        if b"chunked" in headers.get(b"transfer-encoding", b""):
            received = b""
            while not received.endswith(LAST_CHUNK):
                if not (more := await self._reader.read(2**16)):
                    raise ConnectionError(f"the stream broke after {len(received)} bytes")
                received += more
                if not answer.first_seconds and FIRST_TEXT.search(received):
                    answer.first_seconds = time.perf_counter() - started
            answer.chunks = list(_chunks(received))
        else:
            answer.body = await self._reader.readexactly(int(headers.get(b"content-length", b"0")))
        answer.seconds = time.perf_counter() - started
        return answer


def _chunks(received: bytes) -> Iterator[bytes]:
    """The parts of a chunked body. Told apart at its end, since the client shares the cores with what it measures."""
    place = 0
    while True:
        start = received.index(b"\r\n", place) + 2
        end = start + int(received[place : start - 2], 16)
        if start == end:
            return
        yield received[start:end]
        place = end + 2


class ServiceStack:
    """Tally as `startup.py run --detach` starts it, in a directory of its own."""

    def __init__(self, folder: Path, variables: dict[str, str]) -> None:
        self._local = folder / "local"
        kept = {name: value for name, value in os.environ.items() if not name.endswith(("DATABASE_URL", "REDIS_URL"))}
        self._environment = kept | variables | {"TALLY_LOCAL_DIR": str(self._local)}

    def start(self) -> None:
        """Returns once all processes are healthy."""
        self._run("startup.py", "run", "--detach")

    def stop(self) -> None:
        """Leaves no process behind."""
        self._run("startup.py", "stop")

    def make_customers(self, count: int) -> list[str]:
        """The API keys of `count` new customers with 10,000 credits each."""
        return list(json.loads(self._run("-c", MAKE_CUSTOMERS, str(count)).splitlines()[-1]))

    def verify(self) -> None:
        """Every credit is accounted for, or the benchmark ends here."""
        print("  ledger:", self._run("manage.py", "verify_ledger").splitlines()[0])

    def processor_seconds(self) -> dict[str, float]:
        """What each process has used so far, its children included."""
        import psutil

        used = {}
        for entry in self.runtime["processes"]:
            process = psutil.Process(entry["pid"])
            everyone = [process, *process.children(recursive=True)]
            times = [each.cpu_times() for each in everyone]
            used[entry["name"]] = sum(time.user + time.system for time in times)
        return used

    @property
    def runtime(self) -> dict[str, Any]:
        """What runtime.json says now."""
        content: dict[str, Any] = json.loads((self._local / "runtime.json").read_text())
        return content

    def _run(self, *arguments: str) -> str:
        variables = self._environment | {"DJANGO_SETTINGS_MODULE": "config.settings.local"}
        done = subprocess.run(
            [sys.executable, *arguments], cwd=ROOT, env=variables, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise SystemExit(f"{arguments[:2]} failed:\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
        return done.stdout


MAKE_CUSTOMERS = """
import json, sys
import django
django.setup()
from accounts.api_keys import create_key
from accounts.models import User
from billing import ledger
from billing.models import EntryKind
keys = []
for number in range(int(sys.argv[1])):
    user, made = User.objects.get_or_create(email=f"bench{number}@example.com")
    ledger.open_wallet(user=user)
    ledger.grant(user=user, kind=EntryKind.BONUS, amount_microcredits=10**10, idempotency_key=f"bench:{number}",
                 reason="benchmark")
    keys.append(create_key(user=user, name="bench", scopes=["chat"])[1])
print(json.dumps(keys))
"""


@contextmanager
def running(**variables: str) -> Iterator[ServiceStack]:
    """A stack for one question; its data is removed afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="tally-service-"))
    stack = ServiceStack(folder, UNLIMITED | {"TALLY_DEBUG": "0", "WEB_WORKERS": "2"} | variables)
    try:
        stack.start()
        yield stack
        stack.verify()
    finally:
        stack.stop()
        shutil.rmtree(folder, ignore_errors=True)


# Still counted, never refused.
UNLIMITED = dict.fromkeys(
    (
        "API_USER_REQUESTS_PER_MINUTE",
        "API_KEY_REQUESTS_PER_MINUTE",
        "API_USER_TOKENS_PER_MINUTE",
        "API_KEY_TOKENS_PER_MINUTE",
        "MAX_LIVE_GENERATIONS",
    ),
    "1000000000",
)
