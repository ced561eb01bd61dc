"""A customer buys in the browser, spends, gets a refund from staff, and the history on the page adds up."""

import json
import re
from decimal import Decimal
from uuid import uuid4

import pytest

from tests.e2e.asking import NEW_CUSTOMER, ask, receipt_of, shown
from tests.support.stack import wait_until

pytestmark = pytest.mark.e2e


def history(page):
    """(amounts, balances) of the history, the latest first."""
    page.goto("/credits/")
    rows = page.locator("table.rows:has(td.when) tbody tr")
    amounts, balances = [], []
    for row in rows.all():
        cells = [cell.replace(",", "") for cell in row.locator(".amount").all_inner_texts()]
        amounts.append(Decimal(cells[0]))
        balances.append(Decimal(cells[1]))
    return amounts, balances


def buy_a_package(page):
    """From a chat without credits to the page of the paid order."""
    page.fill("#prompt", "I have nothing")
    page.press("#prompt", "Enter")
    page.click("#compose-error a")  # no credits: the top-up page is one click away
    page.wait_for_url(re.compile("/credits/buy/"))
    page.click("form.pack:has-text('bonus') >> nth=0 >> button")
    page.click("button[value=pay]")
    assert "2,100.00 credits were added" in page.locator("main").inner_text()


def spend(page):
    """Ask and stop the answer midway; the microcredits it cost and its receipt's id."""
    page.goto("/")
    answer = ask(page, "Tell me a story about money.")
    wait_until(lambda: len(shown(answer)) > 10, 60, "some text")
    page.keyboard.press("Escape")
    _prompt, _completion, charged = receipt_of(answer)
    return charged, answer.locator(".receipt").get_attribute("href").rstrip("/").rpartition("/")[2]


def print_receipt(page, hold_id):
    page.goto(f"/credits/receipts/{hold_id}/")
    page.evaluate("window.print = () => { document.body.dataset.printed = 'yes' }")
    page.click("button:has-text('Print')")
    assert page.locator("body").get_attribute("data-printed") == "yes"
    page.emulate_media(media="print")
    assert not page.locator("button:has-text('Print')").is_visible()
    page.emulate_media(media="screen")


def refund(admin, hold_id):
    admin.goto(f"/admin/billing/hold/{hold_id}/change/")
    admin.click(".object-tools a:has-text('Refund')")
    admin.check("[name=reason][value='Answer failed or unusable']")
    admin.click("input[type=submit].default")
    assert "go back to" in admin.locator("#content-main").inner_text()
    admin.click("input[type=submit].default")
    admin.wait_for_url(re.compile("/admin/customers/"))


def take_100_credits(admin, email):
    """With a double click on the last button, which takes them once."""
    user_wallet = admin.locator(f"a:has-text('{email}')").first
    admin.goto(f"/admin/billing/wallet/?q={email}")
    user_wallet.click()
    admin.click("#actions a:has-text('Adjust credits')")
    admin.fill("[name=credits]", "-100")
    admin.check("[name=reason][value='Charged in error']")
    admin.click("input[type=submit].default")
    assert "goes from 2,100.00 to 2,000.00 credits" in admin.locator("#content-main").inner_text()
    admin.dblclick("input[type=submit].default")
    # Not `wait_for_url`: it may meet the first click's navigation, which the second one breaks off.
    admin.locator("#actions a:has-text('Adjust credits')").wait_for()


def test_a_package_is_bought_spent_and_refunded_and_the_history_adds_up(browse, stack):
    email = f"buyer-{uuid4().hex[:8]}@example.com"
    printed = stack.manage("shell", "--no-imports", "-c", NEW_CUSTOMER.format(email=email))
    page = browse(login=json.loads(printed.strip().splitlines()[-1]))
    buy_a_package(page)
    assert stack.wallet(email) == (2_100_000_000, 0)
    charged, hold_id = spend(page)
    assert stack.wallet(email) == (2_100_000_000 - charged, 0)
    print_receipt(page, hold_id)

    admin = browse(login=stack.runtime["staff"])
    refund(admin, hold_id)
    assert stack.wallet(email) == (2_100_000_000, 0)
    take_100_credits(admin, email)
    assert stack.wallet(email) == (2_000_000_000, 0)

    amounts, balances = history(page)
    assert len(amounts) == 5
    assert sum(amounts) == balances[0] == Decimal(2000)
    assert all(balances[n] == balances[n + 1] + amounts[n] for n in range(4))
    stack.verify_ledger()
