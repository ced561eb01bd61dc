"""A customer in a real browser, through nginx and TLS: signs up, asks, watches, stops; and nothing is lost."""

import time

import pytest

from tests.docker.customer import log_in, new_address
from tests.e2e.asking import COMPLETION_PRICE, LONG, PROMPT_PRICE, ask, receipt_of, shown
from tests.support.stack import wait_until

pytestmark = [pytest.mark.docker, pytest.mark.timeout(3600)]
FIRST_ANSWER_SECONDS = 300  # the model is loaded, and its kernels are compiled
WATCHED_SECONDS = 3
PROTOCOL = "performance.getEntriesByType('navigation')[0].nextHopProtocol"


def test_a_newcomer_asks_watches_the_answer_grow_and_stops_it(site, newcomer):
    page, email = newcomer
    assert page.evaluate(PROTOCOL) == "h2"
    answer = ask(page, "Tell me a story about a cat.")
    wait_until(lambda: shown(answer), FIRST_ANSWER_SECONDS, "the first text")
    receipt_of(answer)
    answer = ask(page, LONG)
    wait_until(lambda: shown(answer), 60, "the first text")
    lengths, began = set(), time.monotonic()
    while time.monotonic() < began + WATCHED_SECONDS:
        lengths.add(len(shown(answer)))
        time.sleep(0.05)
    page.click("[data-stop]")
    prompt, completion, charged = receipt_of(answer)
    print(f"{len(lengths)} steps in {WATCHED_SECONDS} s after the first text, {completion} tokens")
    assert len(lengths) > 8
    assert "Stopped" in answer.locator(".note").inner_text()
    assert charged == prompt * PROMPT_PRICE + completion * COMPLETION_PRICE
    assert site.query(f"SELECT count(*) FROM accounts_user WHERE email = '{email}'") == [["1"]]
    site.verify_ledger()


def test_static_files_come_from_nginx_and_the_first_byte_of_a_stream_is_not_held_back(site, newcomer):
    page, _email = newcomer
    served = []
    page.on("response", lambda response: served.append((response.url, response.headers)))
    page.reload()
    styles = [headers for url, headers in served if "/static/" in url and ".css" in url]
    assert styles
    assert all("immutable" in headers["cache-control"] for headers in styles)
    assert all("uvicorn" not in headers.get("server", "") for headers in styles)


def test_down_and_up_lose_nothing(site, newcomer):
    page, _email = newcomer
    receipt_of(ask(page, "What is the capital of France?", model="gemma-3-270m"))
    conversation, text = page.url, page.locator(".turn.it").last.inner_text()
    tables = ("accounts_user", "billing_ledgerentry", "inference_generation", "accounts_outgoingmail")
    counts = {table: site.query(f"SELECT count(*) FROM {table}") for table in tables}
    site.compose("down")
    site.up()
    assert {table: site.query(f"SELECT count(*) FROM {table}") for table in tables} == counts
    page.goto(conversation)  # still logged in
    assert page.locator(".turn.it").last.inner_text() == text
    site.verify_ledger()


def test_six_streaming_tabs_leave_room_for_a_seventh_page(site, newcomer):
    page, _email = newcomer
    tabs = [page, *(page.context.new_page() for _ in range(5))]
    answers = []
    for tab in tabs:
        if tab is not page:
            tab.goto("/")
        answers.append(ask(tab, LONG))
    wait_until(lambda: all(shown(answer) for answer in answers), FIRST_ANSWER_SECONDS, "text in all six tabs")
    seventh = page.context.new_page()
    began = time.monotonic()
    seventh.goto("/credits/")
    seconds = time.monotonic() - began
    print(f"the seventh page took {seconds:.1f} s")
    assert seconds < 10
    before = [len(shown(answer)) for answer in answers]
    assert sum(answer.locator(".receipt").count() for answer in answers) == 0, "all six still stream"
    wait_until(lambda: any(len(shown(a)) > b for a, b in zip(answers, before, strict=True)), 60, "they go on")
    for tab, answer in zip(tabs, answers, strict=True):
        tab.click("[data-stop]")
        receipt_of(answer)


def test_an_unknown_account_is_refused(open_page, site):
    page = open_page()
    log_in(page, new_address())
    assert page.url.startswith(f"{site.url}/accounts/login/")
