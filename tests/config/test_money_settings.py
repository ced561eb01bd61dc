"""A setting of money that would break at the first customer is refused when Tally starts."""

import runpy

import pytest
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from config.settings import demands

BASE = settings.BASE_DIR / "config" / "settings" / "base.py"


def load(monkeypatch, **variables):
    """The settings as a process reads them that starts with these variables."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(demands, "_findings", [])
    found = runpy.run_path(str(BASE))
    demands.refuse()
    return found


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("LOW_BALANCE_MICROCREDITS", "-1"),
        ("SIGNUP_BONUS_MICROCREDITS", "-1"),
        ("SIGNUP_BONUS_DAYS", "0"),
        ("REFUND_APPROVAL_MICROCREDITS", "-1"),
        ("NEW_CUSTOMER_DAYS", "-1"),
        ("CREDITS_PER_MINOR_UNIT", "0"),
        ("TOPUP_LEAST_MINOR", "0"),
        ("TOPUP_MOST_MINOR", "99"),
        ("HOLD_LIFETIME_SECONDS", "0"),
        ("MIN_AFFORDABLE_TOKENS", "0"),
        ("KEEP_ENDED_LOGINS_DAYS", "-1"),
        ("KEEP_EVENT_BODIES_DAYS", "6"),
        ("KEEP_MAILS_DAYS", "1"),
        ("EMAIL_TIMEOUT", "0"),
        ("KEEP_READ_NOTICES_DAYS", "-1"),
        ("KEEP_NOTICES_DAYS", "6"),
        ("STRIPE_CHECKOUT_ORIGINS", "pay.example.com"),
        ("STRIPE_CHECKOUT_ORIGINS", "https://pay.example.com/; script-src *"),
        ("TOPUP_CURRENCY", "qqq"),
        ("TOPUP_CURRENCY", "dem"),
        ("TOPUP_CURRENCY", "xau"),
        ("TOPUP_CURRENCY", ""),
        ("TOPUP_CURRENCY", "dollars"),
        ("ANSWER_CACHE_PRICE_PERCENT", "0"),
        ("ANSWER_CACHE_PRICE_PERCENT", "101"),
    ],
)
def test_a_value_that_cannot_work_is_refused_by_name(monkeypatch, name, bad):
    with pytest.raises(ImproperlyConfigured, match=name):
        load(monkeypatch, **{name: bad})


@pytest.mark.parametrize(
    "name", ["LOW_BALANCE_MICROCREDITS", "SIGNUP_BONUS_MICROCREDITS", "REFUND_APPROVAL_MICROCREDITS"]
)
def test_zero_has_a_meaning_here(monkeypatch, name):
    assert load(monkeypatch, **{name: "0"})[name] == 0


@pytest.mark.parametrize(("written", "currency"), [("usd", "usd"), (" JPY ", "jpy"), ("Kwd", "kwd")])
def test_a_currency_may_be_written_in_any_case(monkeypatch, written, currency):
    assert load(monkeypatch, TOPUP_CURRENCY=written)["TOPUP_CURRENCY"] == currency


def test_the_order_form_may_go_to_stripes_page_wherever_that_stands(monkeypatch):
    stripe = {"STRIPE_SECRET_KEY": "sk_test_1", "STRIPE_WEBHOOK_SECRET": "whsec_1"}

    def form_action(**variables):
        return load(monkeypatch, **stripe, **variables)["CONTENT_SECURITY_POLICY"]["DIRECTIVES"]["form-action"]

    assert form_action()[1:] == ["https://checkout.stripe.com"]
    origins = ["https://pay.example.com", "https://pay.example.org"]
    assert form_action(STRIPE_CHECKOUT_ORIGINS=",".join(origins))[1:] == origins
