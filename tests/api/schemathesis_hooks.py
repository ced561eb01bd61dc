"""Log-ins for schemathesis: a fresh one for each request, since requests may end the one they are made with."""

import os

import httpx
import schemathesis


@schemathesis.auth(refresh_interval=None)
class FreshLogin:
    """Asks the server for an access token."""

    def get(self, case, context):
        body = {"email": os.environ["TALLY_EMAIL"], "password": os.environ["TALLY_PASSWORD"]}
        answer = httpx.post(f"{os.environ['TALLY_URL']}/api/v1/auth/token", json=body, timeout=30)
        return answer.json()["access"]

    def set(self, case, data, context):
        case.headers["Authorization"] = f"Bearer {data}"
