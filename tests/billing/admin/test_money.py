"""Money by hand in the admin: credits adjusted and stocks of codes generated, previewed, once, and on record."""

import csv
from datetime import timedelta
from uuid import uuid4

import pytest
from django.urls import reverse
from django.utils import timezone

from accounts.models import AuditEvent
from billing import adjustments
from billing.ledger import IdempotencyConflict
from billing.models import LedgerEntry, PromotionCode, Wallet
from billing.topups import promotions
from billing.topups.promotions import CodeTerms, InvalidCode, StockExists
from tests.billing.orders import complete, disputed, order, spend_credits
from tests.support.cast import CREDIT, UserFactory, at_once

pytestmark = pytest.mark.usefixtures("without_answers")


@pytest.fixture
def desk(client, staff):
    """The admin, with staff at it."""
    client.force_login(staff)
    return client


def balance(user):
    return Wallet.objects.get(user=user).balance_microcredits


def adjusting(user):
    return reverse("admin:billing_wallet_adjust", args=[user.wallet.pk])


def text_of(answer):
    return answer.content.decode()


# Adjusting credits


def test_an_adjustment_says_what_will_happen_and_happens_once(desk, alice, staff, faults):
    url = adjusting(alice)
    assert url in text_of(desk.get(reverse("admin:billing_wallet_change", args=[alice.wallet.pk])))
    assert "alice@example.com has 100.00 credits" in text_of(desk.get(url))
    fields = {"credits": "-2.5", "reason": "Charged in error", "idempotency_key": uuid4()}
    preview = text_of(desk.post(url, fields))
    assert "goes from 100.00 to 97.50 credits" in preview
    assert 'name="credits" value="-2.5"' in preview
    assert balance(alice) == 100 * CREDIT  # the preview moves nothing
    for _click in range(2):
        assert desk.post(url, fields | {"confirmed": "true"}).status_code == 302
    assert balance(alice) == 97_500_000
    entry = LedgerEntry.objects.get(kind="adjustment")
    assert (entry.reason, entry.created_by, entry.amount_microcredits) == ("Charged in error", staff, -2_500_000)
    event = AuditEvent.objects.get(action="credits adjusted")
    assert (event.actor, event.subject, event.details["microcredits"]) == (staff, alice, "-2500000")
    assert faults() == []


@pytest.mark.django_db(transaction=True)
def test_an_adjustment_clicked_at_the_same_moment_happens_once(alice, staff, faults):
    def click(_number):
        return adjustments.adjust_credits(
            user=alice, amount_microcredits=CREDIT, idempotency_key="k", reason="A test", by=staff
        ).pk

    assert len(set(at_once(6, click))) == 1
    assert balance(alice) == 101 * CREDIT
    assert AuditEvent.objects.count() == 1
    assert faults() == []


@pytest.mark.parametrize("change", [{"credits": "5"}, {"reason": "Fraudulent"}])
def test_another_adjustment_under_the_same_key_is_refused(desk, alice, change):
    fields = {"credits": "4", "reason": "Duplicate", "idempotency_key": uuid4(), "confirmed": "true"}
    desk.post(adjusting(alice), fields)
    answer = desk.post(adjusting(alice), fields | change)
    assert (answer.status_code, "already sent" in text_of(answer)) == (409, True)
    assert balance(alice) == 104 * CREDIT


def test_another_customers_wallet_under_the_same_key_is_refused(alice, charlie, staff):
    adjustments.adjust_credits(user=alice, amount_microcredits=1, idempotency_key="k", reason="A test", by=staff)
    with pytest.raises(IdempotencyConflict):
        adjustments.adjust_credits(user=charlie, amount_microcredits=1, idempotency_key="k", reason="A test", by=staff)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"credits": "0"}, "not zero"),
        ({"credits": ""}, "required"),
        ({"credits": "ten"}, "Enter a number"),
        ({"credits": "NaN"}, "Enter a number"),
        ({"credits": "0.0000001"}, "6 decimal places"),
        ({"credits": "10000001"}, "less than or equal"),
        ({"credits": "1e300"}, "less than or equal"),
        ({"credits": "-10000001"}, "greater than or equal"),
        ({"credits": "-100.000001"}, "At most 100.00 credits can be taken"),
        ({"reason": " "}, "required"),
        ({"idempotency_key": "x"}, "UUID"),
    ],
)
@pytest.mark.parametrize("confirmed", ["", "true"])
def test_an_adjustment_that_makes_no_sense_says_so_and_moves_nothing(desk, alice, fields, message, confirmed):
    sent = {"credits": "1", "reason": "Duplicate", "idempotency_key": uuid4(), "confirmed": confirmed} | fields
    answer = desk.post(adjusting(alice), sent)
    assert answer.status_code == 200
    if "idempotency_key" not in fields:  # a hidden field shows no error; nothing happens all the same
        assert message in text_of(answer)
    assert balance(alice) == 100 * CREDIT
    assert not AuditEvent.objects.exists()


def test_an_adjustment_of_a_wallet_that_owes_pays_that_first(desk, bob, faults):
    topup = order(bob, 500)
    complete(topup)
    spend_credits(bob, 400)
    disputed(topup, 500)
    fields = {"credits": "450", "reason": "Goodwill after an incident", "idempotency_key": uuid4()}
    preview = text_of(desk.post(adjusting(bob), fields))
    assert "goes from 0.00 to 50.00 credits" in preview
    assert "400.00 credits pay what is owed" in preview
    desk.post(adjusting(bob), fields | {"confirmed": "true"})
    assert balance(bob) == 50 * CREDIT
    assert faults() == []


def test_a_wallet_that_is_none_is_404(desk):
    assert desk.get(reverse("admin:billing_wallet_adjust", args=["999999"])).status_code == 404
    assert desk.get(reverse("admin:billing_wallet_adjust", args=["nonsense"])).status_code == 404
    assert desk.get(reverse("admin:billing_hold_refund", args=[uuid4()])).status_code == 404


# Stocks of codes


def generate(desk, **fields):
    url = reverse("admin:billing_promotioncode_generate")
    sent = {"batch": "fair", "credits": "5", "count": "20", "idempotency_key": uuid4(), "confirmed": "true"}
    return desk.post(url, sent | fields, follow=True)


def test_a_stock_is_previewed_generated_once_and_downloaded(desk, staff, bob, alice, faults):
    changelist = text_of(desk.get(reverse("admin:billing_promotioncode_changelist")))
    assert reverse("admin:billing_promotioncode_generate") in changelist
    ends = timezone.now() + timedelta(days=30)
    terms = {"ends_at": f"{ends:%Y-%m-%dT%H:%M}", "is_for_new_users": "on", "expires_after_days": "90"}
    preview = text_of(generate(desk, confirmed="", **terms))
    assert "20 codes of 5.00 credits each: 100.00 credits if all are redeemed" in preview
    assert "For new customers only" in preview
    assert PromotionCode.objects.count() == 0
    for _click in range(2):
        page = text_of(generate(desk, **terms))
        assert "20 codes are ready" in page
    assert PromotionCode.objects.count() == 20
    assert AuditEvent.objects.get(action="codes generated").details["count"] == "20"
    answer = desk.get(reverse("admin:billing_promotioncode_stock"), {"batch": "fair"})
    assert answer["Content-Disposition"] == 'attachment; filename="codes.csv"'
    rows = list(csv.DictReader(text_of(answer).splitlines()))
    assert {row["code"] for row in rows} == set(PromotionCode.objects.values_list("code", flat=True))
    assert {(row["credits"], row["batch"], row["redemptions"]) for row in rows} == {("5.000000", "fair", "0")}
    promotions.redeem_code(user=bob, text=rows[0]["code"])
    assert balance(bob) == 5 * CREDIT
    with pytest.raises(InvalidCode, match="used up"):
        promotions.redeem_code(user=alice, text=rows[0]["code"])
    complete(order(alice, 100))
    with pytest.raises(InvalidCode, match="new customers"):
        promotions.redeem_code(user=alice, text=rows[1]["code"])
    assert faults() == []


def test_another_stock_of_the_same_name_is_refused(desk):
    generate(desk)
    for other in ({"count": "21"}, {"credits": "6"}, {"is_for_new_users": "on"}):
        answer = generate(desk, **other)
        assert (answer.status_code, "another stock of this name" in text_of(answer)) == (409, True)
    assert PromotionCode.objects.count() == 20


@pytest.mark.django_db(transaction=True)
def test_a_stock_generated_at_the_same_moment_is_made_once(staff):
    terms = CodeTerms(credits_microcredits=CREDIT, batch="fair")
    stocks = at_once(4, lambda _n: [code.pk for code in promotions.generate_codes(terms=terms, count=50, by=staff)])
    assert len({tuple(sorted(stock)) for stock in stocks}) == 1
    assert (PromotionCode.objects.count(), AuditEvent.objects.count()) == (50, 1)
    with pytest.raises(StockExists):
        promotions.generate_codes(terms=terms, count=51)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"count": "0"}, "greater than or equal to 1"),
        ({"count": "10001"}, "less than or equal to 10000"),
        ({"count": "many"}, "whole number"),
        ({"credits": "0"}, "worth something"),
        ({"credits": "-1"}, "greater than or equal"),
        ({"credits": "1e9"}, "less than or equal"),
        ({"batch": " "}, "required"),
        ({"ends_at": "2020-01-01T00:00"}, "ends before it begins"),
        ({"starts_at": "2030-01-02T00:00", "ends_at": "2030-01-01T00:00"}, "ends before it begins"),
        ({"ends_at": "soon"}, "valid date"),
        ({"expires_after_days": "0"}, "greater than or equal to 1"),
    ],
)
def test_a_stock_that_makes_no_sense_says_so_and_makes_nothing(desk, fields, message):
    answer = generate(desk, **fields)
    assert (answer.status_code, message in text_of(answer)) == (200, True)
    assert PromotionCode.objects.count() == 0


def test_a_file_of_codes_runs_no_formula(desk, db):
    PromotionCode.objects.create(code="=1+1", credits_microcredits=CREDIT, batch="@SUM(A1)")
    rows = list(csv.reader(text_of(desk.get(stock_url("@SUM(A1)"))).splitlines()))
    assert rows[1][:2] == ["'=1+1", "'@SUM(A1)"]


def stock_url(batch):
    return reverse("admin:billing_promotioncode_stock", query={"batch": batch})


def test_a_stock_that_is_none_is_404_and_codes_without_one_are_no_stock(desk, db):
    PromotionCode.objects.create(code="LOOSE", credits_microcredits=CREDIT)
    assert [desk.get(stock_url(batch)).status_code for batch in ("nothing", "")] == [404, 404]


def test_a_stock_of_ten_thousand_is_made_and_downloaded_with_few_queries(desk, django_assert_max_num_queries):
    with django_assert_max_num_queries(30):
        generate(desk, count="10000")
    with django_assert_max_num_queries(5):
        answer = desk.get(stock_url("fair"))
    assert len(text_of(answer).splitlines()) == 10_001


def test_chosen_codes_are_exported_by_those_who_may_see_them(desk, client, db):
    code = PromotionCode.objects.create(code="WELCOME", credits_microcredits=CREDIT)
    url = reverse("admin:billing_promotioncode_changelist")
    action = {"action": "export_csv", "_selected_action": [code.pk]}
    assert "WELCOME,,1.000000" in text_of(desk.post(url, action))
    client.force_login(UserFactory.create(email="clerk@example.com", is_staff=True))
    assert client.post(url, action).status_code == 403


# A refund under a key that is taken


def test_another_refund_under_the_same_key_is_a_409_page(desk, bob):
    topup = order(bob, 500)
    topup.provider = "sandbox"
    topup.save()
    complete(topup, provider="sandbox")
    url = reverse("admin:billing_topup_refund", args=[topup.pk])
    fields = {"amount": "1.00", "reason": "Requested by the customer", "idempotency_key": uuid4(), "confirmed": "true"}
    assert [desk.post(url, fields).status_code for _click in range(2)] == [302, 302]
    for other in ({"amount": "2.00"}, {"reason": "Fraudulent"}):
        answer = desk.post(url, fields | other)
        assert (answer.status_code, "already sent" in text_of(answer)) == (409, True)
    assert balance(bob) == 400 * CREDIT
