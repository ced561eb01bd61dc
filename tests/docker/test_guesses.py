"""Who guesses passwords is locked out by the address that nginx sees, whatever they claim; nobody else is."""

import json
import subprocess

import pytest

from tests.docker.customer import PASSWORD, log_in
from tests.docker.site import DOMAIN, HTTPS_PORT, NGINX_ADDRESS, PROJECT

pytestmark = [pytest.mark.docker, pytest.mark.timeout(3600)]

# Runs in a container, so it has an address of its own. Prints the statuses of 200 wrong log-ins, each of which claims
# another address, and the answer to a right one once nginx listens again.
ATTACK = """
import http.client, json, ssl, sys, time

def log_in(email, password, forged):
    connection = http.client.HTTPSConnection(sys.argv[1], int(sys.argv[2]), context=ssl._create_unverified_context())
    headers = {"X-Forwarded-For": forged, "X-Real-IP": forged, "Forwarded": "for=" + forged}
    headers["Content-Type"] = "application/json"
    connection.request("POST", "/api/v1/auth/token", json.dumps({"email": email, "password": password}), headers)
    answer = connection.getresponse()
    return answer.status, answer.read().decode()

wrong = [log_in(f"nobody-{n}@example.com", "wrong", f"198.51.100.{n}")[0] for n in range(200)]
time.sleep(5)
print(json.dumps({"wrong": wrong, "right": log_in(sys.argv[3], sys.argv[4], "203.0.113.7")}))
"""


def test_two_hundred_wrong_log_ins_lock_their_own_address_alone(site, images, newcomer, open_page):
    _page, email = newcomer
    command = [
        "docker",
        "run",
        "--rm",
        "-i",
        "--network",
        f"{PROJECT}_outside",
        "--add-host",
        f"{DOMAIN}:{NGINX_ADDRESS}",
    ]
    command += ["--entrypoint", "python", images["web"], "-", DOMAIN, str(HTTPS_PORT), email, PASSWORD]
    done = subprocess.run(command, input=ATTACK, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    print({status: said["wrong"].count(status) for status in set(said["wrong"])}, said["right"])
    assert set(said["wrong"]) == {401, 429}
    assert 20 <= said["wrong"].count(401) <= 40  # 20 a minute, and a minute may begin in between
    status, body = said["right"]
    assert (status, "Too many tries" in body) == (429, True), "Tally itself refuses, not nginx"
    page = open_page()
    log_in(page, email)
    page.wait_for_url(f"{site.url}/")
