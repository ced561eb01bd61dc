"""Log-ins for schemathesis: one for many requests, and a fresh one after each that may have ended it.

At the end it writes to TALLY_STATUSES how often each status was answered to a log-in: who was locked out tried nothing.
"""

import atexit
import json
import os
import time
from collections import Counter
from pathlib import Path

import httpx
import schemathesis

# Logging out and in, passwords, the list of log-ins, closing an account, staff who end log-ins.
ENDING = ("/auth/", "/sessions", "/account/closing", "/end-log-ins", "/suspend")
GOOD_SECONDS = 300  # half of what an access token has

_statuses: Counter[int] = Counter()


@schemathesis.auth(refresh_interval=None)
class Login:
    """Asks the server for an access token when there is none that is good for certain."""

    token = ""
    asked_at = 0.0

    def get(self, case, context):
        if not Login.token or time.monotonic() - Login.asked_at > GOOD_SECONDS:
            body = {"email": os.environ["TALLY_EMAIL"], "password": os.environ["TALLY_PASSWORD"]}
            answer = httpx.post(f"{os.environ['TALLY_URL']}/api/v1/auth/token", json=body, timeout=30)
            Login.token, Login.asked_at = answer.json()["access"], time.monotonic()
        return Login.token

    def set(self, case, data, context):
        case.headers["Authorization"] = f"Bearer {data}"


@schemathesis.hook
def after_call(context, case, response):
    if case.headers.get("Authorization") == f"Bearer {Login.token}":  # not one of the checks that send another
        _statuses[response.status_code] += 1
    if response.status_code == 401 or any(part in case.operation.path for part in ENDING):
        Login.token = ""


@atexit.register
def write_statuses():
    Path(os.environ["TALLY_STATUSES"]).write_text(json.dumps(_statuses))
