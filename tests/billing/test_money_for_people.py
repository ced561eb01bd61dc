"""Credits as people read them."""

import pytest
from django.utils import translation

from billing.templatetags.money import format_balance, format_credits, money, per_thousand, roughly, round_credits


@pytest.mark.parametrize(
    ("microcredits", "text"),
    [
        (0, "0.00"),
        (1, "0.000001"),
        (500_000, "0.50"),
        (83_416_200, "83.4162"),
        (1_234_567_890_000, "1,234,567.89"),
        (-200, "-0.0002"),
        (-1_500_000, "-1.50"),
    ],
)
def test_credits_are_exact_to_the_microcredit(microcredits, text):
    assert format_credits(microcredits) == text


def test_prices_are_said_for_a_thousand_tokens():
    assert per_thousand(20) == "0.02"


@pytest.mark.parametrize(
    ("microcredits", "text"), [(0, "0.00"), (7, "0.000007"), (123_456, "0.13"), (20_820, "0.021"), (2_049_000, "2.10")]
)
def test_an_estimate_is_rounded_up_to_two_digits(microcredits, text):
    assert roughly(microcredits) == text


@pytest.mark.parametrize(("language", "marks"), [("en", ",."), ("de", ".,")])
def test_amounts_are_written_in_the_form_of_the_language(language, marks):
    written = str.maketrans(",.", marks)
    with translation.override(language):
        assert format_credits(1_234_567_890_000) == "1,234,567.89".translate(written)
        assert format_credits(-200) == "-0.0002".translate(written)
        assert format_balance(9_986_440) == "9.98".translate(written)
        assert round_credits(10_000_000_000) == "10,000".translate(written)
        assert "1,234.56".translate(written) in money(123_456, "usd")
        assert money(500, "jpy").strip("\u00a0¥") == "500"
