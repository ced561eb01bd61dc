"""Promotion codes give what they say, within their limits, however often and fast they are sent."""

from datetime import timedelta

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from billing.models import PromotionCode, Redemption, Wallet
from billing.topups.promotions import CodeTerms, InvalidCode, generate_codes, redeem_code
from tests.billing.orders import complete, order
from tests.support.cast import CREDIT, UserFactory, at_once

HOUR = timedelta(hours=1)


def make_code(code="WELCOME", **fields):
    return PromotionCode.objects.create(code=code, credits_microcredits=5 * CREDIT, **fields)


def balance(user):
    return Wallet.objects.get(user=user).balance_microcredits


def test_a_code_is_credited_in_any_spelling_and_expires_when_it_says(bob, faults):
    make_code(expires_after_days=30)
    entry = redeem_code(user=bob, text="  welcome\n").entry
    assert (entry.kind, balance(bob)) == ("promotion", 5 * CREDIT)
    assert timedelta(days=29) < entry.grant.expires_at - timezone.now() <= timedelta(days=30)
    assert faults() == []


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"is_active": False}, "not valid now"),
        ({"starts_at": timezone.now() + HOUR}, "not valid now"),
        ({"ends_at": timezone.now() - HOUR}, "expired"),
        ({"most_redemptions": 0}, "used up"),
    ],
)
def test_a_code_outside_its_limits_says_why_and_gives_nothing(bob, faults, fields, message):
    make_code(**fields)
    with pytest.raises(InvalidCode, match=message):
        redeem_code(user=bob, text="WELCOME")
    assert (balance(bob), Redemption.objects.count()) == (0, 0)
    assert faults() == []


@pytest.mark.parametrize("text", ["", "NOPE", "' OR 1=1 --", "\x00", "W" * 500])
def test_a_code_that_is_none_says_so(bob, text):
    make_code()
    with pytest.raises(InvalidCode, match="no such code"):
        redeem_code(user=bob, text=text)


def test_a_code_is_used_once_by_each_user_unless_it_allows_more(bob, alice):
    make_code(most_per_user=2)
    for _ in range(2):
        redeem_code(user=bob, text="WELCOME")
    with pytest.raises(InvalidCode, match="already"):
        redeem_code(user=bob, text="WELCOME")
    redeem_code(user=alice, text="WELCOME")
    assert balance(bob) == 10 * CREDIT


def test_a_code_for_new_customers_refuses_old_ones_and_buyers(bob, alice):
    make_code(is_for_new_users=True)
    bob.date_joined = timezone.now() - timedelta(days=100)
    bob.save()
    complete(order(alice, 100))
    for user in (bob, alice):
        with pytest.raises(InvalidCode, match="new customers"):
            redeem_code(user=user, text="WELCOME")
    redeem_code(user=UserFactory.create(email="new@example.com"), text="WELCOME")


@pytest.mark.django_db(transaction=True)
def test_a_code_redeemed_many_times_at_once_by_one_user_gives_once(bob, faults):
    make_code()
    results = at_once(8, lambda _n: redeem_code(user=bob, text="WELCOME"))
    assert sum(isinstance(result, Redemption) for result in results) == 1
    assert balance(bob) == 5 * CREDIT
    assert faults() == []


@pytest.mark.django_db(transaction=True)
def test_a_code_for_two_uses_sent_many_times_at_once_with_one_key_is_used_once(bob, faults):
    make_code(most_per_user=2)
    results = at_once(8, lambda _n: redeem_code(user=bob, text="WELCOME", idempotency_key="k").pk)
    assert len(set(results)) == 1
    assert balance(bob) == 5 * CREDIT
    redeem_code(user=bob, text="welcome", idempotency_key="l")
    assert balance(bob) == 10 * CREDIT
    assert faults() == []


@pytest.mark.django_db(transaction=True)
def test_the_last_redemption_of_a_code_goes_to_one_of_many_users(catalogue, faults):
    make_code(most_redemptions=3)
    users = [UserFactory.create() for _ in range(10)]
    results = at_once(10, lambda n: redeem_code(user=users[n], text="WELCOME"))
    assert sum(isinstance(result, Redemption) for result in results) == 3
    assert sum(isinstance(result, InvalidCode) for result in results) == 7
    assert faults() == []


def test_a_stock_of_codes_is_single_use_and_unlike(bob, alice):
    codes = generate_codes(terms=CodeTerms(credits_microcredits=CREDIT, batch="fair"), count=500)
    assert len({code.code for code in codes}) == 500
    redeem_code(user=bob, text=codes[0].code)
    with pytest.raises(InvalidCode, match="used up"):
        redeem_code(user=alice, text=codes[0].code)
    for count in (0, 10_001):
        with pytest.raises(ValueError, match="at a time"):
            generate_codes(terms=CodeTerms(credits_microcredits=CREDIT, batch="fair"), count=count)


@pytest.mark.parametrize("fields", [{"credits_microcredits": 0}, {"credits_microcredits": -5}, {"code": "lower"}])
def test_the_database_refuses_codes_that_make_no_sense(db, fields):
    values = {"code": "FINE", "credits_microcredits": CREDIT, **fields}
    with pytest.raises(IntegrityError), transaction.atomic():
        PromotionCode.objects.create(**values)


def test_the_database_refuses_more_redemptions_than_the_code_allows(bob):
    code = make_code(most_redemptions=1)
    redeem_code(user=bob, text="WELCOME")
    with pytest.raises(IntegrityError), transaction.atomic():
        PromotionCode.objects.filter(pk=code.pk).update(redemptions_count=2)
