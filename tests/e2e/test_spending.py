"""A customer lets Tally buy credits, sees it do so, is held by their own cap, and reads the month's statement."""

import json
from decimal import Decimal
from uuid import uuid4

import pytest

from tests.e2e.asking import NEW_CUSTOMER, ask, receipt_of, shown
from tests.support.stack import wait_until

pytestmark = pytest.mark.e2e
FIVE_DOLLARS = 500_000_000


@pytest.fixture
def customer(browse, stack):
    """(e-mail, page) of somebody new, who has nothing."""
    email = f"spender-{uuid4().hex[:8]}@example.com"
    printed = stack.manage("shell", "--no-imports", "-c", NEW_CUSTOMER.format(email=email))
    return email, browse(login=json.loads(printed.strip().splitlines()[-1]))


def turn_on(page, card):
    page.goto("/credits/spending/")
    page.click("text=Save a card")
    page.click(f"button[value={card}]")
    page.fill("#automatic_below", "10")
    page.fill("#automatic_amount", "5")
    page.fill("#automatic_ceiling", "5")
    page.click("#automatic .settings button")
    page.click("text=I agree")
    page.wait_for_selector("text=Automatic top-up is on")


def test_credits_are_bought_when_there_are_none_and_the_cap_holds_and_the_statement_adds_up(customer, stack):
    email, page = customer
    turn_on(page, "approve")
    wait_until(lambda: stack.wallet(email) == (FIVE_DOLLARS, 0), 30, "the worker to buy credits")
    page.goto("/credits/spending/")
    assert "$5 of at most $5" in page.locator("#automatic").inner_text()

    page.goto("/")
    answer = ask(page, "Tell me a story about money.")
    wait_until(
        lambda: len(shown(answer)) > 10 or answer.locator(".receipt").count(), 60, "some text, or a short answer"
    )
    page.keyboard.press("Escape")
    _prompt, _completion, charged = receipt_of(answer)

    page.goto("/credits/spending/")
    page.fill("#cap_cap", str(Decimal(charged) / 1_000_000))
    page.click("#cap button")
    page.wait_for_selector("#cap p:has-text('It is used up')")
    page.goto("/")
    page.fill("#prompt", "And once more, please.")
    page.wait_for_selector("#estimate a:has-text('limited by your cap')")
    page.press("#prompt", "Enter")
    page.click("#compose-error a:has-text('Raise the cap')")
    page.fill("#cap_cap", "100")
    page.click("#cap button")
    page.wait_for_selector("text=The cap holds from now on")

    page.goto("/credits/statements/")
    page.click("ul.months a >> nth=0")
    page.wait_for_selector("#lines tbody tr")
    amounts = page.locator("#lines td.amount:nth-child(3)").all_inner_texts()
    closing = Decimal(page.locator("#closing").inner_text())
    assert sum(Decimal(amount.replace(",", "")) for amount in amounts) == closing
    assert int(closing * 1_000_000) == stack.wallet(email)[0] == FIVE_DOLLARS - charged
    stack.verify_ledger()


def test_a_card_that_is_declined_moves_nothing_and_waits(customer, stack):
    email, page = customer
    turn_on(page, "decline")

    def says_so():
        page.goto("/credits/spending/")
        return "Not before" in page.locator("#automatic").inner_text()

    wait_until(says_so, 30, "the page to tell of the decline")
    assert stack.wallet(email) == (0, 0)
    page.click("text=Turn it off")
    page.wait_for_selector("text=Automatic top-up is off")
    stack.verify_ledger()
