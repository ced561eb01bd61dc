"""Processes die or Redis stops under a running answer: nobody pays for it, nothing hangs, all goes on."""

import http.client
import json
import os
import signal
import threading
import time
import urllib.error
import urllib.request
from contextlib import suppress
from uuid import uuid4

import pytest

from tests.e2e.asking import COMPLETION_PRICE, LONG, PROMPT_PRICE, STORY_TELLER, ask, receipt_of, shown
from tests.faults.customers import CREDITS, Customer
from tests.support.stack import wait_until

pytestmark = pytest.mark.e2e


def email(stack):
    return stack.runtime["customer"]["email"]


def test_kill_9_of_the_gpu_worker_costs_nothing_and_the_next_question_is_answered(browse, stack):
    page = browse()
    balance, _held = stack.wallet(email(stack))
    answer = ask(page, LONG)
    wait_until(lambda: len(shown(answer)) > 20, 60, "some text")
    killed = stack.kill("gpu-worker")
    died = time.monotonic()
    answer.locator(".note.bad").wait_for(timeout=30_000)
    assert time.monotonic() - died < 30
    note = answer.locator(".note").inner_text()
    assert "Interrupted" in note
    assert "cost nothing" in note
    assert len(shown(answer)) > 20  # what had come is kept
    assert stack.wallet(email(stack)) == (balance, 0)
    assert wait_until(lambda: stack.pid("gpu-worker") not in (0, killed), 30, "a new worker")
    stack.verify_ledger()
    answer.locator("text=Retry").click()
    wait_until(lambda: page.locator(".turn.it.live").count() == 1, 10, "another version")
    again = page.locator(".turn.it").last
    wait_until(lambda: len(shown(again)) > 20, 90, "text of the next answer")
    page.click("[data-stop]")
    prompt, completion, charged = receipt_of(again)
    assert charged == prompt * PROMPT_PRICE + completion * COMPLETION_PRICE
    stack.verify_ledger()


def test_kill_9_of_the_web_process_leaves_the_answer_running_at_its_price(browse, stack):
    page = browse()
    answer = ask(page, LONG)
    wait_until(lambda: len(shown(answer)) > 20, 60, "some text")
    before = shown(answer)
    killed = stack.kill("web")
    wait_until(lambda: stack.pid("web") not in (0, killed) and stack.runtime["healthy"], 60, "a new web process")
    wait_until(lambda: len(shown(answer)) > len(before), 60, "the stream goes on by itself")
    page.reload()
    answer = page.locator(".turn.it").last
    if page.locator("[data-stop]").count():  # the model may have come to the end of its story
        page.click("[data-stop]")
    prompt, completion, charged = receipt_of(answer)
    assert charged == prompt * PROMPT_PRICE + completion * COMPLETION_PRICE
    stack.verify_ledger()


@pytest.mark.parametrize("name", ["beat", "default-worker", "mail-worker", "proof-worker", "flower"])
def test_kill_9_of_the_others_is_mended(stack, name):
    killed = stack.kill(name)
    wait_until(lambda: stack.pid(name) not in (0, killed) and stack.runtime["healthy"], 60, f"a new {name}")
    stack.verify_ledger()


def test_with_redis_stopped_sending_says_so_costs_nothing_and_works_again_later(browse, stack):
    page = browse()
    balance, _held = stack.wallet(email(stack))
    stack.redis.stop()
    try:
        page.fill("#prompt", "Are you there?")
        page.press("#prompt", "Enter")
        note = page.locator("#compose-error .note")
        note.wait_for()
        assert "cannot be reached" in note.inner_text()
        assert "Nothing was charged" in note.inner_text()
        assert page.input_value("#prompt") == "Are you there?"
        assert stack.wallet(email(stack)) == (balance, 0)
        page.reload()
        assert page.locator("#composer").is_visible()
        page.goto("/credits/")
        assert page.locator("h1").inner_text() == "Credits"
        stack.verify_ledger()
    finally:
        stack.redis.start()
    page.goto("/")
    answer = ask(page, "Are you there now?")
    wait_until(lambda: shown(answer), 90, "an answer after Redis is back")
    page.click("[data-stop]")
    receipt_of(answer)
    stack.verify_ledger()


def test_redis_restarting_in_mid_answer_loses_nothing(browse, stack):
    page = browse()
    answer = ask(page, LONG)
    wait_until(lambda: len(shown(answer)) > 20, 60, "some text")
    before = len(shown(answer))
    stack.redis.stop()
    time.sleep(2)
    stack.redis.start()
    wait_until(lambda: len(shown(answer)) > before + 20, 60, "more text")
    page.click("[data-stop]")
    prompt, completion, charged = receipt_of(answer)
    assert charged == prompt * PROMPT_PRICE + completion * COMPLETION_PRICE
    [(text,)] = stack.query("SELECT text FROM inference_generation ORDER BY created_at DESC LIMIT 1")
    assert len(text.split()) >= len(shown(answer).split())
    stack.verify_ledger()


class Api:
    """A logged-in client of the pages that several threads may use."""

    def __init__(self, stack, login):
        self.url = stack.url
        self.cookies = {}
        self.get("/accounts/login/")
        self.post("/accounts/login/", {"login": login["email"], "password": login["password"]})

    def get(self, path):
        return self._open(urllib.request.Request(self.url + path))

    def post(self, path, fields):
        body = urllib.parse.urlencode(fields).encode()
        request = urllib.request.Request(self.url + path, body)
        request.add_header("X-CSRFToken", self.cookies["csrftoken"])
        return self._open(request)

    def _open(self, request):
        request.add_header("Cookie", "; ".join(f"{name}={value}" for name, value in self.cookies.items()))
        opener = urllib.request.build_opener(NoRedirect)
        try:
            response = opener.open(request, timeout=60)
        except urllib.error.HTTPError as error:
            response = error
        for header in response.headers.get_all("Set-Cookie") or []:
            name, _equals, value = header.partition(";")[0].partition("=")
            self.cookies[name] = value
        return response.status, response.read().decode()


class NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_args):
        return None


NEW_CUSTOMER = """
import json
from accounts.models import User
from allauth.account.models import EmailAddress
from billing import ledger
user = User.objects.create_user({email!r}, "three-answers-2026")
EmailAddress.objects.create(user=user, email=user.email, verified=True, primary=True)
ledger.grant(user=user, kind="bonus", amount_microcredits={amount}, idempotency_key={email!r}, reason="test")
print(json.dumps({{"email": user.email, "password": "three-answers-2026"}}))
"""


def test_twenty_questions_at_once_from_a_wallet_that_affords_three(stack):
    prompt_tokens = stack.query("SELECT prompt_tokens FROM inference_generation LIMIT 1")
    assert prompt_tokens
    question, length = "Tell me a story.", 20
    address = f"three-{uuid4().hex[:8]}@example.com"
    tokens = 35  # of `question` in SmolLM2's chat template; the assertion below proves it
    worst = tokens * PROMPT_PRICE + length * COMPLETION_PRICE
    login = json.loads(
        stack.manage("shell", "--no-imports", "-c", NEW_CUSTOMER.format(email=address, amount=3 * worst))
        .strip()
        .splitlines()[-1]
    )
    api = Api(stack, login)
    statuses = [0] * 20

    def send(number):
        fields = {"text": question, "model": STORY_TELLER, "max_tokens": length, "idempotency_key": uuid4()}
        statuses[number], _page = api.post("/send/", fields)

    threads = [threading.Thread(target=send, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (statuses.count(302), statuses.count(402)) == (3, 17)
    mine = "FROM inference_generation g JOIN accounts_user u ON u.id = g.user_id WHERE email = %s"
    wait_until(lambda: stack.query(f"SELECT count(ended_at) {mine}", address) == [(3,)], 60, "all have ended")
    assert stack.query(f"SELECT DISTINCT state, prompt_tokens {mine}", address) == [("completed", tokens)]
    cost = f"g.prompt_tokens * {PROMPT_PRICE} + g.completion_tokens * {COMPLETION_PRICE}"
    [(spent,)] = stack.query(f"SELECT sum({cost}) {mine}", address)
    assert stack.wallet(address) == (3 * worst - spent, 0)
    stack.verify_ledger()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM], ids=["kill", "restart"])
def test_a_web_process_that_goes_away_costs_api_clients_only_what_it_handed_over(stack, how):
    """One client streams, one waits for a whole answer; neither has an Idempotency-Key."""
    customer = Customer(stack)
    body = {"model": STORY_TELLER, "prompt": "Once upon a time", "max_tokens": 400, "temperature": 0.8}
    lines, whole = [], []

    def read_stream():
        request = body | {"stream": True}
        with suppress(OSError, http.client.HTTPException), customer.open("/v1/completions", request) as answer:
            lines.extend(answer)

    threads = [
        threading.Thread(target=read_stream),
        threading.Thread(target=lambda: whole.append(customer.call("/v1/completions", body))),
    ]
    for thread in threads:
        thread.start()
    customer.wait_running(2)
    before = stack.pid("web")
    os.kill(before, how)
    wait_until(lambda: stack.pid("web") not in (0, before) and stack.runtime["healthy"], 60, "a new web process")
    for thread in threads:
        thread.join(60)
    wait_until(lambda: not stack.query("SELECT 1 FROM inference_delivery"), 40, "the sweeper to see to it")
    prices = {}
    for row in customer.wait_ended():
        is_stream = any(str(row[0].hex).encode() in line for line in lines)
        prices["stream" if is_stream else "whole"] = row[2] * PROMPT_PRICE + row[3] * COMPLETION_PRICE
    fair = prices["stream"] * (b"data: [DONE]\n" in lines) + prices["whole"] * (whole[0][0] == 200)
    assert (CREDITS - stack.wallet(customer.email)[0], stack.wallet(customer.email)[1]) == (fair, 0)
    if how == signal.SIGKILL:
        assert fair == 0
    stack.verify_ledger()
