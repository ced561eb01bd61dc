"""What goes wrong in a storm: one process after the other is killed, stopped for a while, or restarted."""

import os
import random
import signal
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field

from tests.faults.customers import is_answering, paused
from tests.support.stack import Stack

APPS = ("web", "gpu-worker", "default-worker", "beat", "flower")
BACK_SECONDS = 30.0
PAUSE_SECONDS = (4.0, 10.0)  # between two faults
FROZEN_SECONDS = (2.0, 16.0)


@dataclass
class Chaos:
    """A thread that does one thing after the other; `slow` says what took longer than BACK_SECONDS to be back."""

    stack: Stack
    seed: int
    done: Counter[str] = field(default_factory=Counter)
    longest_seconds: float = 0.0
    slow: list[str] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Until `stop`."""
        dice = random.Random(self.seed)
        faults = [
            *((f"kill {name}", lambda name=name: self._kill(name, signal.SIGKILL)) for name in APPS),
            *((f"restart {name}", lambda name=name: self._kill(name, signal.SIGTERM)) for name in APPS),
            *((f"freeze {name}", lambda name=name: self._freeze(self.stack.pid(name), dice)) for name in APPS),
            ("restart redis", self._restart_redis),
            ("freeze redis", lambda: self._freeze(self.stack.redis.pid, dice)),
            ("restart postgresql", self._restart_postgresql),
            ("freeze postgresql", lambda: self._freeze(self.stack.pid("postgresql"), dice)),
        ]
        while not self._over.wait(dice.uniform(*PAUSE_SECONDS)):
            name, fault = dice.choice(faults)
            fault()
            self.done[name] += 1
            self._wait_until_back(name)

    def stop(self) -> None:
        """No more of it."""
        self._over.set()

    def _kill(self, name: str, how: int) -> None:
        before = self.stack.pid(name)
        if before:
            with suppress(ProcessLookupError):
                os.kill(before, how)
            self._wait(lambda: self.stack.pid(name) not in (0, before), 40)

    def _freeze(self, pid: int, dice: random.Random) -> None:
        if pid:
            with paused(pid):
                self._over.wait(dice.uniform(*FROZEN_SECONDS))

    def _restart_redis(self) -> None:
        self.stack.redis.stop()
        time.sleep(1)
        self.stack.redis.start()

    def _restart_postgresql(self) -> None:
        before = self.stack.pid("postgresql")
        if before:
            os.kill(before, signal.SIGQUIT)
            self._wait(lambda: self.stack.pid("postgresql") not in (0, before) and is_answering(self.stack), 60)

    def _wait_until_back(self, what: str) -> None:
        began = time.monotonic()
        if not self._wait(lambda: bool(self.stack.runtime["healthy"]), 120):
            self.slow.append(f"{what}: not after 120 s")
        seconds = time.monotonic() - began
        self.longest_seconds = max(self.longest_seconds, seconds)
        if seconds > BACK_SECONDS:
            self.slow.append(f"{what}: {seconds:.0f} s")

    def _wait(self, condition: object, seconds: float) -> bool:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if condition():  # type: ignore[operator]
                return True
            time.sleep(0.2)
        return False
