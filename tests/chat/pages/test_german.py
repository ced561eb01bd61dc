"""Tally in German: signing up, asking and buying in a real browser, and the numbers of every page."""

import re
from html.parser import HTMLParser
from urllib.parse import urlsplit

import pytest
from django.conf import settings
from django.urls import reverse

from accounts.models import User
from billing.ledger.caps import set_cap
from billing.models import Hold, TopUp
from billing.topups.orders import offer_of_amount, start_topup
from billing.topups.packages import seed_packages
from inference.catalogue import DEMO_KEY
from tests.chat.pages.browser import ask
from tests.e2e.looking import look_at
from tests.support.cast import CREDIT, PASSWORD, answered_talk, fund
from tests.support.mailbox import read_mails

browser_test = pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume")  # WhiteNoise's files
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True, "color_scheme": "dark"}
DESKTOP = {"viewport": {"width": 1440, "height": 900}}
READ_AS_NUMBERS = {"min", "max", "step", "x", "y", "dy", "width", "height", "rx", "cols", "rows", "maxlength"}
CUT_OFF = """[...document.querySelectorAll(".btn")].filter(button => button.checkVisibility()
  && (button.scrollWidth > button.clientWidth || button.getBoundingClientRect().right > innerWidth)
).map(button => button.textContent.trim())"""
LINK = re.compile(r"https?://\S+/accounts/confirm-email/\S+")


def sign_up(page, email):
    """From the front door to the chat, by the form, the mail and its link."""
    page.goto("/")
    page.click("header >> text=Registrieren")
    page.fill("[name=email]", email)
    page.fill("[name=password1]", "kurz")
    page.fill("[name=password2]", "kurz")
    page.click("button[type=submit]")
    page.wait_for_selector("text=Dieses Passwort ist zu kurz")
    page.fill("[name=password1]", PASSWORD)
    page.fill("[name=password2]", PASSWORD)
    page.click("button[type=submit]")
    page.wait_for_selector("h1:has-text('Bestätigen Sie Ihre E-Mail-Adresse')")
    mail = read_mails()[-1]
    assert "Bitte bestätigen Sie Ihre E-Mail-Adresse" in mail.subject
    page.goto(urlsplit(LINK.search(str(mail.body))[0]).path)
    page.get_by_role("button", name="Bestätigen").click()
    page.wait_for_selector("text=Was möchten Sie wissen?")


@browser_test
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("size", [PHONE, DESKTOP])
def test_a_german_signs_up_asks_and_buys_in_german(open_page, catalogue, size):
    seed_packages()
    name = f"german-{size['viewport']['width']}"
    page = open_page(None, locale="de-DE", **size)
    look_at(page, f"{name}-landing")
    sign_up(page, "neu@example.com")
    look_at(page, f"{name}-hello")
    page.fill("#prompt", "Drei Namen?")
    page.wait_for_selector("#estimate:has-text('höchstens')")
    answer = ask(page, "Drei Namen?")
    receipt = answer.locator(".receipt")
    receipt.wait_for()
    assert re.search(r"\d+ ein, \d+ aus · 0,\d+ Credits", receipt.inner_text())
    look_at(page, f"{name}-answer")
    page.goto("/credits/buy/")
    look_at(page, f"{name}-buy")
    page.click("form.pack:has-text('Bonus') >> nth=0 >> button")
    page.click("button[value=pay]")
    page.wait_for_selector("text=Bezahlt. Vielen Dank!")
    assert "2.100,00 Credits" in page.locator("main").inner_text()
    look_at(page, f"{name}-paid")
    user = User.objects.get(email="neu@example.com")
    spent = Hold.objects.get().charged_microcredits
    assert user.wallet.balance_microcredits == settings.SIGNUP_BONUS_MICROCREDITS + 2100 * CREDIT - spent


@browser_test
@pytest.mark.django_db(transaction=True)
def test_german_words_fit_the_narrowest_phone(open_page, catalogue, alice):
    seed_packages()
    for user, paths in ((None, ("/", "/pricing/", "/status/", "/accounts/signup/")), (alice, ("/", "/credits/buy/"))):
        page = open_page(user, locale="de-DE", viewport={"width": 320, "height": 640})
        for path in paths:
            page.goto(path)
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
            assert page.evaluate(CUT_OFF) == [], path


@browser_test
@pytest.mark.django_db(transaction=True)
def test_an_amount_says_what_it_buys_and_strangers_and_customers_switch(open_page, alice):
    page = open_page(None, "/pricing/", **DESKTOP)
    page.click("footer >> text=Deutsch")
    page.wait_for_selector("h1:has-text('Preise')")
    page.click("header >> text=Anmelden")
    page.fill("[name=login]", alice.email)
    page.fill("[name=password]", PASSWORD)
    page.click("button[type=submit]")
    page.wait_for_selector("text=Was möchten Sie wissen?")
    page.goto("/credits/buy/")
    page.fill("#amount", "12.5")
    page.wait_for_selector("#amount-credits:has-text('= 1.250')")
    page.click(".account summary")
    look_at(page, "german-menu")
    page.click(".account >> text=English")
    page.wait_for_selector("h2:has-text('Another amount')")
    assert urlsplit(page.url).path == "/credits/buy/"


class Attributes(HTMLParser):
    """Collects the attributes of a page that scripts and browsers read as numbers."""

    def __init__(self):
        super().__init__()
        self.numbers = []

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        for name, value in attrs:
            is_data = name.startswith("data-") and re.fullmatch(r"-?[\d.,\u00a0]+", value or "")
            is_number = name == "value" and (tag in ("progress", "meter") or values.get("type") == "number")
            if name in READ_AS_NUMBERS or is_data or (is_number and value):
                self.numbers.append((tag, name, value.removesuffix("%")))


def pages_with_numbers(user):
    """The pages of a customer who has thousands of credits, a cap, an order and an answer."""
    fund(user, 12_345 * CREDIT, "more")
    set_cap(user=user, cap_microcredits=1_234_567_890)
    talk = answered_talk(user, user_model())
    start_topup(user=user, offer=offer_of_amount(1250), idempotency_key="k")
    topup = reverse("billing:topup", args=[TopUp.objects.get().pk])
    receipt = reverse("billing:receipt", args=[Hold.objects.get().pk])
    names = ("overview", "usage", "buy", "spending", "statements", "who_pays")
    return [talk.get_absolute_url(), topup, receipt, *(reverse(f"billing:{name}") for name in names)]


def user_model():
    from inference.models import CatalogueModel

    return CatalogueModel.objects.get(key=DEMO_KEY)


def test_no_attribute_that_is_read_as_a_number_is_written_as_germans_write_it(client, alice):
    seed_packages()
    paths = pages_with_numbers(alice)
    client.force_login(alice)
    numbers = []
    for path in paths:
        body = client.get(path, HTTP_ACCEPT_LANGUAGE="de").content.decode()
        assert '<html lang="de"' in body, path
        collected = Attributes()
        collected.feed(body)
        numbers += [(path, *number) for number in collected.numbers]
        if path == reverse("billing:overview"):
            assert "12.444,99" in body  # but people read it so
    assert len(numbers) > 50
    assert [number for number in numbers if not re.fullmatch(r"-?\d+(\.\d+)?|any", number[3])] == []
    assert any(name == "data-charged-microcredits" for _path, _tag, name, _value in numbers)
    assert any(tag == "progress" for _path, tag, _name, _value in numbers)
