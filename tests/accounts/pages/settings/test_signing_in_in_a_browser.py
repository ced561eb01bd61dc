"""Address, password, app and passkey in a real browser, which has an authenticator of its own."""

import re

import pytest
from allauth.account.models import EmailAddress
from django.urls import reverse

from accounts.models import User
from tests.accounts.pages.settings.looks import DESKTOP, LOOKS, NO_SCRIPT, code_of, name_of
from tests.e2e.looking import look_at
from tests.support.cast import PASSWORD
from tests.support.mailbox import read_mails

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume"),  # WhiteNoise's files, as in config.asgi
]
PAGE = "/settings/signing-in/"
NEW_PASSWORD = "another-Long-passphrase-2"


def confirm(page):
    """Type the password again."""
    page.fill("[name=password]", PASSWORD)
    page.click("button:has-text('Confirm')")


def set_up_app(page):
    """Turn the app on; return its secret."""
    page.click("[aria-label='Manage two-step']")
    page.click("text=Set up")
    confirm(page)
    secret = page.inner_text(".secret code")
    page.fill("[name=code]", code_of(secret))
    page.click("button:has-text('Turn on')")
    page.wait_for_selector("#codes")
    return secret


def log_in(page, password=PASSWORD):
    """Address and password, at the log-in."""
    page.context.clear_cookies()
    page.goto(reverse("account_login"))
    page.fill("[name=login]", "alice@example.com")
    page.fill("[name=password]", password)
    page.click("form[action*=login] button[type=submit]")


@pytest.mark.parametrize("look", LOOKS, ids=name_of)
def test_two_step_is_turned_on_used_and_turned_off(open_page, alice, look):
    page = open_page(alice, PAGE, **look)
    look_at(page, f"signing-in-{name_of(look)}")
    page.click("[aria-label='Manage two-step']")
    look_at(page, f"two-step-{name_of(look)}")
    page.click("text=Set up")
    look_at(page, f"confirm-{name_of(look)}")
    confirm(page)
    look_at(page, f"app-{name_of(look)}")
    assert page.evaluate("document.querySelector('.qr').naturalWidth") > 0
    secret = page.inner_text(".secret code")
    page.fill("[name=code]", "000000")
    page.click("button:has-text('Turn on')")
    page.wait_for_selector(".errorlist:has-text('wrong')")
    look_at(page, f"app-wrong-{name_of(look)}")
    page.fill("[name=code]", code_of(secret, -1))
    page.click("button:has-text('Turn on')")
    page.wait_for_selector("#codes")
    look_at(page, f"codes-{name_of(look)}")
    recovery = page.locator("#codes code").first.inner_text()
    log_in(page)
    page.wait_for_selector("h1:has-text('One more step')")
    look_at(page, f"one-more-step-{name_of(look)}")
    page.fill("[name=code]", recovery)
    page.click("button:has-text('Log in')")
    page.wait_for_selector("#composer")
    page.goto(PAGE)
    page.wait_for_selector("text=9 of 10 recovery codes left")
    look_at(page, f"signing-in-on-{name_of(look)}")


def test_two_step_works_without_scripts(open_page, alice):
    page = open_page(alice, PAGE, **NO_SCRIPT)
    secret = set_up_app(page)
    log_in(page)
    page.fill("[name=code]", code_of(secret))
    page.click("button:has-text('Log in')")
    page.wait_for_selector("#composer")
    page.goto(PAGE)
    assert page.is_visible("text=10 of 10 recovery codes left")


def test_a_passkey_is_added_opens_the_account_and_is_removed(open_page, alice):
    page = open_page(alice, PAGE, host="localhost", **DESKTOP)
    session = page.context.new_cdp_session(page)
    session.send("WebAuthn.enable")
    options = {"protocol": "ctap2", "transport": "internal", "hasResidentKey": True, "hasUserVerification": True}
    options |= {"isUserVerified": True, "automaticPresenceSimulation": True}
    session.send("WebAuthn.addVirtualAuthenticator", {"options": options})
    page.click("[aria-label='Manage two-step']")
    page.click("[href$='webauthn/add/']")
    confirm(page)
    look_at(page, "passkey-add")
    page.fill("[name=name]", "My <laptop>")
    page.click("#mfa_webauthn_add")
    page.wait_for_selector("#codes")
    page.click("text=I have kept them")
    look_at(page, "passkeys")
    assert page.is_visible("b:has-text('My <laptop>')")
    log_in(page)
    page.click("text=Use a passkey")
    page.wait_for_selector("#composer")
    page.goto(reverse("mfa_index"))
    page.click("[aria-label='Remove My <laptop>']")
    confirm(page)
    page.click("button:has-text('Remove')")
    page.wait_for_selector(".toast:has-text('removed')")
    assert alice.authenticator_set.count() == 0
    log_in(page)
    page.wait_for_selector("#composer")
    page.goto(PAGE)
    assert page.is_visible("text=Off: your password alone")


@pytest.mark.parametrize("look", LOOKS[:1] + LOOKS[-1:], ids=name_of)
def test_address_and_password_are_changed(open_page, alice, look):
    page = open_page(alice, PAGE, **look)
    page.click("[aria-label='Change the address']")
    look_at(page, f"address-{name_of(look)}")
    page.fill("[name=email]", "Alice.New@example.com")
    page.click("button[name=action_add]")
    confirm(page)
    page.wait_for_selector("text=Waits for its confirmation")
    look_at(page, f"address-waits-{name_of(look)}")
    assert User.objects.get(pk=alice.pk).email == "alice@example.com"
    sent = {mail.to[0]: str(mail.body) for mail in read_mails()}
    assert "alice.new@example.com was added" in sent["alice@example.com"]
    link = re.search(r"/accounts/confirm-email/\S+", sent["alice.new@example.com"]).group()
    page.goto(link)
    if page.locator("form button[type=submit]").count():
        page.click("form[action*=confirm] button[type=submit]")
    assert User.objects.get(pk=alice.pk).email == "alice.new@example.com"
    assert list(EmailAddress.objects.values_list("email", "verified")) == [("alice.new@example.com", True)]
    assert [mail.to for mail in read_mails() if "hanged" in mail.subject] == [["alice@example.com"]]
    page.goto(PAGE)
    page.click("[aria-label='Change the password']")
    look_at(page, f"password-{name_of(look)}")
    page.fill("[name=oldpassword]", "wrong")
    page.fill("[name=password1]", NEW_PASSWORD)
    page.fill("[name=password2]", NEW_PASSWORD)
    page.click("button:has-text('Change')")
    page.wait_for_selector(".errorlist")
    page.fill("[name=oldpassword]", PASSWORD)
    page.fill("[name=password1]", NEW_PASSWORD)
    page.fill("[name=password2]", NEW_PASSWORD)
    page.click("button:has-text('Change')")
    page.wait_for_selector("h2:has-text('Signing in')")
    assert User.objects.get(pk=alice.pk).check_password(NEW_PASSWORD)
