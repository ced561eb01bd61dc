"""Flower's password is not guessed: an address that tries wrong ones is shut out for a while. A real Flower."""

import os
import subprocess
import sys
from base64 import b64encode

import httpx
import pytest
from django.conf import settings

from deploy.local.processes import free_port
from tests.support.stack import wait_until

RIGHT, WRONG = "operator@example.com:right", "operator@example.com:wrong"
PAGES = ["/workers", "/api/workers", "/tasks", "/api/queues/length"]


@pytest.fixture(scope="module")
def flower(tmp_path_factory):
    """Its address; 127.0.0.1 is a proxy that it trusts. It has of Redis the broker alone."""
    port = free_port(15600)
    variables = {name: value for name, value in os.environ.items() if not name.endswith("_URL")}
    variables |= {
        "DJANGO_SETTINGS_MODULE": "config.settings.flower",
        "BROKER_REDIS_URL": settings.BROKER_REDIS_URL,
        "TRUSTED_PROXIES": "127.0.0.1",
        "FLOWER_BASIC_AUTH": RIGHT,
    }
    log = tmp_path_factory.mktemp("flower") / "log"
    command = [sys.executable, "-m", "celery", "-A", "config", "flower", "--address=127.0.0.1", f"--port={port}"]
    with (
        log.open("w") as output,
        subprocess.Popen(
            [*command, "--xheaders=True"], env=variables, cwd=settings.BASE_DIR, stdout=output, stderr=output
        ) as process,
    ):
        try:
            wait_until(lambda: process.poll() is not None or _answers(port), 60, "Flower answers")
            assert process.poll() is None, log.read_text()
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def _answers(port):
    try:
        return httpx.get(f"http://127.0.0.1:{port}/healthcheck").status_code == 200
    except httpx.HTTPError:
        return False


def ask(flower, login, *, path="/workers", peer="127.0.0.1", **headers):
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    if login:
        headers["Authorization"] = f"Basic {b64encode(login.encode()).decode()}"
    with httpx.Client(transport=httpx.HTTPTransport(local_address=peer)) as client:
        return client.get(flower + path, headers=headers)


def guess_until_shut(flower, **how):
    """The answers to wrong tries, until one is refused that is not about to be let in again."""
    answers = []
    for number in range(15):
        answers.append(ask(flower, WRONG, path=PAGES[number % len(PAGES)], **how))
        if answers[-1].status_code == 429 and int(answers[-1].headers["Retry-After"]) > 5:
            break
    return answers


def test_a_shut_address_learns_nothing_from_the_right_password(flower):
    answers = guess_until_shut(flower, X_Forwarded_For="192.0.2.1")
    assert [answer.status_code for answer in answers[:5]] == [401] * 5
    assert answers[-1].status_code == 429
    for login in (WRONG, RIGHT):
        for path in PAGES:
            answer = ask(flower, login, path=path, X_Forwarded_For="192.0.2.1")
            assert answer.status_code == 429
            assert 0 < int(answer.headers["Retry-After"]) <= 3600
            assert "Too many tries" in answer.text
    assert ask(flower, RIGHT, X_Forwarded_For="192.0.2.2").status_code == 200


def test_right_tries_and_those_without_a_password_are_not_counted(flower):
    for _ in range(8):
        assert ask(flower, RIGHT, X_Forwarded_For="192.0.2.3").status_code == 200
        assert ask(flower, "", X_Forwarded_For="192.0.2.3").status_code == 401
    assert ask(flower, RIGHT, X_Forwarded_For="192.0.2.3").status_code == 200


def test_nobody_makes_up_an_address(flower):
    """127.0.0.2 is no proxy, and what it says of itself changes nothing, X-Real-Ip of `--xheaders` included."""
    assert guess_until_shut(flower, peer="127.0.0.2")[-1].status_code == 429
    for told in ("192.0.2.9", "127.0.0.1"):
        answer = ask(flower, RIGHT, peer="127.0.0.2", X_Forwarded_For=told, X_Real_Ip=told)
        assert answer.status_code == 429


def test_what_cannot_be_read_counts_as_a_try(flower):
    headers = {"X_Forwarded_For": "192.0.2.4", "Authorization": "Basic nothing-that-was-encoded"}
    assert 429 in [ask(flower, "", **headers).status_code for _ in range(11)]
