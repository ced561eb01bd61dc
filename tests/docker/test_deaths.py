"""Each container is killed while customers ask: it comes back, and the ledger is clean."""

import threading
import time

import httpx
import pytest

from tests.docker.customer import generate, new_key
from tests.support.stack import wait_until

pytestmark = [pytest.mark.docker, pytest.mark.timeout(3600)]
LIVE = "SELECT count(*) FROM inference_generation WHERE state IN ('queued', 'running')"


class Askers:
    """Threads that ask again and again, and count what they got."""

    def __init__(self, key):
        self.answered, self.broken = 0, 0
        self._key, self._over = key, threading.Event()
        self._threads = [threading.Thread(target=self._ask, daemon=True) for _ in range(3)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_error):
        self._over.set()
        for thread in self._threads:
            thread.join(150)

    def _ask(self):
        while not self._over.is_set():
            try:
                generate(self._key, tokens=30)
                self.answered += 1
            except httpx.HTTPError:
                self.broken += 1
                time.sleep(1)


def test_each_comes_back_and_the_ledger_is_clean(site, newcomer):
    _page, email = newcomer
    took = {}
    with Askers(new_key(site, email)) as askers:
        wait_until(lambda: askers.answered, 300, "the first answer")
        for name in [name for name in site.services() if name != "mail"]:
            before = site.restarts(name)
            began = time.monotonic()
            site.kill(name)
            wait_until(lambda name=name, before=before: site.restarts(name) > before, 60, f"{name} is started again")
            site.wait_until_healthy(name)
            took[name] = round(time.monotonic() - began)
        answered = askers.answered
        wait_until(lambda: askers.answered > answered + 2, 200, "answers after all of it")
    print(took, f"{askers.answered} answers, {askers.broken} broken")
    wait_until(lambda: site.query(LIVE) == [["0"]], 120, "no answer is stuck")
    wait_until(lambda: site.query("SELECT count(*) FROM inference_delivery") == [["0"]], 120, "nothing to hand over")
    held = "SELECT sum(held_microcredits) FROM billing_wallet"
    assert site.query(held) == [["0"]]
    site.verify_ledger()
