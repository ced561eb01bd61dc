"""How many decimals each currency has, as stored amounts and as Stripe count them."""

from decimal import Decimal

import pytest
from django.utils import translation

from billing import currencies
from billing.stripe import amounts
from billing.topups.payments import PaymentRefused

# Amounts are stored in these units. When a new release of Babel turns this red, amounts that are stored in a currency
# that changed mean something else: convert them before you take the release.
NOT_TWO_DECIMALS = {
    0: "afn all bif clp cop djf gnf huf idr iqd irr isk jpy kmf kpw krw lak lbp mga mmk pyg rwf sos syp ugx vnd vuv "
    "xaf xof xpf yer",
    3: "bhd jod kwd lyd omr tnd",
}


def test_stored_amounts_keep_their_meaning():
    decimals = {currency: count for count, names in NOT_TWO_DECIMALS.items() for currency in names.split()}
    found = {currency: currencies.decimals_of(currency) for currency in currencies.currencies_in_use()}
    assert {currency: count for currency, count in found.items() if count != 2} == decimals
    assert len(found) > 140


@pytest.mark.parametrize("code", ["usd", "eur", "jpy", "gbp", "chf", "kwd", "inr"])
def test_what_people_pay_with_is_known(code):
    assert currencies.known_currency(f" {code.upper()} ") == code


@pytest.mark.parametrize("code", ["", "qqq", "dem", "xau", "xxx", "us", "usdt", "u$d"])
def test_what_nobody_pays_with_is_not(code):
    with pytest.raises(currencies.UnknownCurrency, match="ISO 4217"):
        currencies.known_currency(code)


def test_money_is_written_as_the_readers_language_writes_it():
    with translation.override("de"):
        assert currencies.format_money(123_456, "usd") == "1.234,56\u00a0$"
        assert currencies.format_money(500, "eur") == "5\u00a0€"
    assert currencies.format_money(500, "eur") == "€5"


@pytest.mark.parametrize(
    ("minor", "currency", "text"),
    [
        (123_456, "usd", "$1,234.56"),
        (5, "usd", "$0.05"),
        (0, "usd", "$0"),
        (500, "jpy", "¥500"),
        (1_234_567, "jpy", "¥1,234,567"),
        (5, "kwd", "KWD\u00a00.005"),
        (1_234_567, "kwd", "KWD\u00a01,234.567"),
        (500, "usd", "$5"),
        (2**31 - 1, "huf", "HUF\u00a02,147,483,647"),
    ],
)
def test_money_is_written_with_all_its_decimals_and_no_others(minor, currency, text):
    assert currencies.format_money(minor, currency) == text


@pytest.mark.parametrize("amount", ["0.001", "1.5", "0.5"])
def test_what_is_finer_than_a_currency_is_refused(amount):
    currency = "usd" if amount == "0.001" else "jpy"
    with pytest.raises(currencies.TooFine):
        currencies.to_minor(Decimal(amount), currency)


def test_a_third_decimal_is_zero():
    assert currencies.to_minor(Decimal("5.12"), "kwd") == 5120
    with pytest.raises(currencies.TooFine):
        currencies.to_minor(Decimal("5.125"), "kwd")


@pytest.mark.parametrize("currency", sorted(currencies.currencies_in_use()))
def test_what_stripe_is_asked_for_is_read_back_as_the_same_amount(currency):
    minor = 1_230
    at_stripe = amounts.amount_for_stripe(minor, currency)
    assert amounts.minor_of_stripe(at_stripe, currency) == minor


@pytest.mark.parametrize(
    ("currency", "at_stripe"),
    [
        *[("usd", 500), ("jpy", 500), ("krw", 500), ("mga", 500), ("bhd", 500), ("lyd", 50)],
        *[("huf", 50_000), ("cop", 50_000), ("idr", 50_000), ("isk", 50_000), ("ugx", 50_000)],
    ],
)
def test_stripe_is_asked_in_its_own_units(currency, at_stripe):
    assert amounts.amount_for_stripe(500, currency) == at_stripe


def test_a_part_of_a_smallest_unit_that_went_back_counts_as_one():
    assert amounts.minor_of_stripe(1, "huf") == 1
    assert amounts.minor_of_stripe(100, "huf") == 1
    assert amounts.minor_of_stripe(101, "huf") == 2


def test_stripe_takes_no_third_decimal():
    with pytest.raises(PaymentRefused, match=r"steps of KWD.0\.010"):
        amounts.amount_for_stripe(5125, "kwd")
