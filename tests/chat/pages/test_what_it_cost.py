"""What stands under an answer about its cost: what limited it, what was refunded."""

import re

import pytest

from accounts.api_keys import create_key
from billing import ledger
from billing.ledger.caps import set_cap
from billing.models import Hold
from inference.models import Generation
from tests.support.cast import answered_talk, fund

SEVEN = 20 * 20 + 7 * 40  # microcredits: 20 tokens of prompt, 7 of an answer


def page_of(client, talk):
    """The conversation's page, with single blanks."""
    client.force_login(talk.user)
    return re.sub(r"\s+", " ", client.get(talk.get_absolute_url()).content.decode())


def limited_talk(user, catalogue, limit):
    """A conversation whose answer was to be 10 tokens long, and ended at the 7 that this left."""
    key = None
    fund(user, SEVEN if limit == "balance" else 10 * SEVEN)
    if limit == "monthly_cap":
        set_cap(user=user, cap_microcredits=SEVEN)
    if limit == "key_cap":
        key, _secret = create_key(user=user, name="test", scopes=["chat"], monthly_cap_microcredits=SEVEN)
    talk = answered_talk(user, catalogue, key)
    Generation.objects.update(finish_reason="length")
    return talk


@pytest.mark.parametrize("is_live", [True, False])
@pytest.mark.parametrize(
    ("limit", "words"),
    [
        ("balance", "Limited to 7 tokens by your balance."),
        ("monthly_cap", "Limited to 7 tokens by your monthly cap."),
        ("key_cap", "Limited to 7 tokens by the monthly cap of the API key."),
    ],
)
def test_an_answer_that_was_cut_short_says_what_limited_it(client, bob, catalogue, settings, limit, words, is_live):
    settings.MIN_AFFORDABLE_TOKENS = 1
    talk = limited_talk(bob, catalogue, limit)
    if is_live:
        Generation.objects.update(state="running", ended_at=None)
    page = page_of(client, talk)
    assert re.findall(r"Limited to[^.]*\.", page) == [words]
    assert ("/credits/spending/#cap" in page) == (limit == "monthly_cap")


def test_the_line_under_an_answer_shows_what_was_refunded_and_the_net(client, alice, staff, catalogue):
    talk = answered_talk(alice, catalogue)
    assert "20 in, 3 out · 0.00052 credits </a>" in page_of(client, talk)
    for key, amount in (("a", 100), ("b", 20)):
        ledger.refund(
            hold_id=Hold.objects.get().pk, amount_microcredits=amount, idempotency_key=key, reason="bad", by=staff
        )
    assert "20 in, 3 out · 0.00052 credits · 0.00012 refunded, 0.0004 net </a>" in page_of(client, talk)
