"""SECRET_KEY and the key of the tokens are replaced while customers ask two web processes: no request fails.

The two are restarted one after the other for each step, as docs/configuration.md says. A process that is about to stop
gets no new requests, as with any proxy that is told of it.
"""

import os
import re
import secrets
import subprocess
import sys
import threading
import time

import httpx
import pytest

from deploy import roles
from deploy.local.processes import free_port
from tests.support.stack import ROOT, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.e2e, pytest.mark.timeout(400)]
LOADED = 2.0  # seconds of load between two restarts
DRAINED = 0.5  # seconds in which no new request comes, before a process is told to stop
CSRF = re.compile(r'name="csrfmiddlewaretoken" value="([^"]+)"')


class Web:
    """One web process, with the keys of its time."""

    def __init__(self, stack, log):
        self._stack, self._log, self._process = stack, log, None
        self.port = free_port(0)
        self.url = f"http://127.0.0.1:{self.port}"
        self.is_open = False

    def restart(self, keys):
        self.stop()
        command = [sys.executable, "-m", *roles.web(f"127.0.0.1:{self.port}", processes="1")]
        environment = os.environ | self._stack.runtime["redis_urls"] | keys
        environment |= {
            "DATABASE_URL": self._stack.runtime["database_url"],
            "DATABASE_OWNER_URL": "",
            "DJANGO_SETTINGS_MODULE": "config.settings.local",
            "TALLY_LOCAL_DIR": str(self._stack.local),
        }
        self._process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=self._log, stderr=self._log)
        wait_until(self._answers, 60, "the web process answers")
        self.is_open = True

    def _answers(self):
        try:
            return httpx.get(f"{self.url}/healthz").status_code == 200
        except httpx.TransportError:
            return False

    def stop(self):
        if self._process is not None:
            self.is_open = False
            time.sleep(DRAINED)
            self._process.terminate()
            assert self._process.wait(timeout=30) == 0


class Customers:
    """Somebody with a session and somebody with a token, who ask both processes in turn and note what is refused."""

    def __init__(self, webs, login):
        self._webs, self._over, self.asked, self.refused = webs, threading.Event(), 0, []
        self._session = httpx.Client(timeout=30, limits=httpx.Limits(max_keepalive_connections=0))
        page = self._session.get(f"{webs[0].url}/accounts/login/")
        form = {
            "csrfmiddlewaretoken": CSRF.search(page.text)[1],
            "login": login["email"],
            "password": login["password"],
        }
        assert self._session.post(f"{webs[0].url}/accounts/login/", data=form).status_code == 302
        sent = {"email": login["email"], "password": login["password"]}
        self._tokens = httpx.post(f"{webs[0].url}/api/v1/auth/token", json=sent).raise_for_status().json()

    def __enter__(self):
        self._thread = threading.Thread(target=self._ask)
        self._thread.start()
        return self

    def __exit__(self, *_error):
        self._over.set()
        self._thread.join(60)
        self._session.close()

    def _ask(self):
        number = 0
        while not self._over.is_set():
            number += 1
            for request in (self._read_the_page, self._read_the_account, self._renew_the_token):
                open_ones = [web for web in self._webs if web.is_open]
                status = request(open_ones[number % len(open_ones)])
                self.asked += 1
                if status != 200:
                    self.refused.append((request.__name__, status))
            time.sleep(0.02)

    def _read_the_page(self, web):
        return self._session.get(f"{web.url}/credits/").status_code

    def _read_the_account(self, web):
        bearer = {"Authorization": f"Bearer {self._tokens['access']}"}
        return httpx.get(f"{web.url}/api/v1/me", headers=bearer, timeout=30).status_code

    def _renew_the_token(self, web):
        sent = {"refresh": self._tokens["refresh"]}
        answer = httpx.post(f"{web.url}/api/v1/auth/token/refresh", json=sent, timeout=30)
        if answer.status_code == 200:
            self._tokens = answer.json()
        return answer.status_code


def keys(secret, fallback, signing, signing_fallback):
    return {
        "SECRET_KEY": secret,
        "SECRET_KEY_FALLBACKS": fallback,
        "JWT_SIGNING_KEY": signing,
        "JWT_SIGNING_KEY_FALLBACKS": signing_fallback,
        "MAILBOX_SECRET": "for tests only",
        "API_USER_REQUESTS_PER_MINUTE": "100000",
    }


def test_no_request_fails_while_both_keys_are_replaced(stack, tmp_path):
    old, new, signing, fresh = (secrets.token_urlsafe(64) for _ in range(4))
    with (tmp_path / "web.log").open("wb") as log:
        webs = [Web(stack, log), Web(stack, log)]
        try:
            for web in webs:
                web.restart(keys(old, "", signing, ""))
            with Customers(webs, stack.runtime["customer"]) as customers:
                for step in (keys(old, new, signing, fresh), keys(new, old, fresh, signing)):
                    for web in webs:
                        time.sleep(LOADED)
                        web.restart(step)
                time.sleep(LOADED)
            assert customers.refused == []
            assert customers.asked > 30
            stranger = {"sessionid": customers._session.cookies["sessionid"]}
            for web in webs:  # what was signed with the old key is still believed, until the fallback is taken out
                assert httpx.get(f"{web.url}/credits/", cookies=stranger).status_code == 200
        finally:
            for web in webs:
                web.stop()
