"""A customer in a real browser: asks, watches, stops, reloads, and reads what it cost."""

import re
import time

import pytest

from tests.e2e.asking import COMPLETION_PRICE, LONG, PROMPT_PRICE, ask, receipt_of, shown
from tests.support.stack import wait_until

pytestmark = pytest.mark.e2e


def in_credits(text):
    """'0.00418 credits' as microcredits."""
    whole, rest = re.search(r"([\d,]+)\.(\d+) credits", text).groups()
    return int(whole.replace(",", "")) * 1_000_000 + int(rest.ljust(6, "0"))


def test_an_answer_grows_and_its_receipt_is_tokens_times_prices(browse, stack):
    page = browse()
    balance, _held = stack.wallet(stack.runtime["customer"]["email"])
    answer = ask(page, "Tell me a story about a cat.")
    steps = set()
    deadline = time.monotonic() + 60
    while len(steps) < 5 and time.monotonic() < deadline:
        steps.add(shown(answer))
        time.sleep(0.05)
    growing = sorted(steps, key=len)
    assert len(growing) >= 5
    page.keyboard.press("Escape")
    prompt, completion, charged = receipt_of(answer)
    assert charged == prompt * PROMPT_PRICE + completion * COMPLETION_PRICE
    assert in_credits(answer.locator(".receipt").inner_text()) == charged
    after, held = stack.wallet(stack.runtime["customer"]["email"])
    assert (after, held) == (balance - charged, 0)
    answer.locator(".receipt").click()
    assert in_credits(page.locator("#charged").inner_text() + " credits") == charged
    stack.verify_ledger()


def test_stop_ends_a_long_answer_within_a_second_at_the_price_of_what_came(browse, stack):
    page = browse()
    answer = ask(page, LONG)
    wait_until(lambda: len(shown(answer)) > 20, 60, "some text")
    pressed = time.monotonic()
    page.click("[data-stop]")
    answer.locator(".receipt").wait_for(timeout=5000)
    took = time.monotonic() - pressed
    final = shown(answer)
    prompt, completion, charged = receipt_of(answer)
    assert took < 1.0
    assert "Stopped" in answer.locator(".note").inner_text()
    assert charged == prompt * PROMPT_PRICE + completion * COMPLETION_PRICE
    time.sleep(1)
    assert shown(answer) == final
    [(text, tokens, state)] = stack.query(
        "SELECT text, completion_tokens, state FROM inference_generation ORDER BY created_at DESC LIMIT 1"
    )
    assert (tokens, state) == (completion, "stopped")
    assert words(final) == words(text)
    assert page.locator("#composer .go").is_enabled()
    stack.verify_ledger()


def words(text):
    """Text without what Markdown makes of blanks and marks."""
    return re.sub(r"[\s*_#`>\-\d.]+", "", text)


def test_a_reload_in_mid_answer_loses_no_character(browse, stack):
    page = browse()
    answer = ask(page, LONG)
    wait_until(lambda: len(shown(answer)) > 40, 60, "some text")
    before = shown(answer)
    page.reload()
    answer = page.locator(".turn.it").last
    wait_until(lambda: len(shown(answer)) > len(before) + 20, 60, "more text after the reload")
    during = shown(answer)
    assert words(during).startswith(words(before))
    page.click("[data-stop]")
    receipt_of(answer)
    [(text,)] = stack.query("SELECT text FROM inference_generation ORDER BY created_at DESC LIMIT 1")
    assert words(shown(answer)) == words(text)
    assert words(text).startswith(words(during))


def test_two_tabs_show_the_same_answer_and_one_of_them_may_stop_it(browse):
    page = browse()
    answer = ask(page, LONG)
    wait_until(lambda: shown(answer), 60, "some text")
    other = page.context.new_page()
    other.goto(page.url)
    second = other.locator(".turn.it").last
    wait_until(lambda: len(shown(second)) > 10, 60, "text in the second tab")
    other.click("[data-stop]")
    assert receipt_of(answer) == receipt_of(second)
    assert shown(answer) == shown(second)


def test_a_double_click_on_send_asks_once(browse, stack):
    [(before,)] = stack.query("SELECT count(*) FROM inference_generation")
    page = browse()
    page.fill("#prompt", "Once only")
    page.dblclick("#composer .go", no_wait_after=True)
    page.wait_for_selector(".turn.it")
    page.click("[data-stop]")
    receipt_of(page.locator(".turn.it").last)
    assert stack.query("SELECT count(*) FROM inference_generation") == [(before + 1,)]


def test_refused_input_keeps_the_draft_and_says_why(browse, stack):
    page = browse()
    page.fill("#prompt", "x" * 201_000)
    page.press("#prompt", "Enter")
    note = page.locator("#compose-error .note")
    note.wait_for()
    assert "201,000 characters" in note.inner_text()
    assert len(page.input_value("#prompt")) == 201_000


def test_everything_works_without_javascript(browse, stack):
    page = browse(java_script_enabled=False)
    page.fill("#prompt", "Hello without scripts")
    page.click("#composer .go")
    page.wait_for_url(re.compile("/c/"))
    with page.expect_navigation():  # a reload in the midst of it finds no page
        page.click("text=Stop")

    def has_ended():
        page.reload()
        return page.locator(".receipt").count()

    wait_until(has_ended, 30, "a receipt")
    stack.verify_ledger()
