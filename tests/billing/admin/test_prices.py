"""Prices, packages and codes in the admin: as through the API, within bounds, never in the past, and on record."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import Group
from django.db import IntegrityError, transaction
from django.urls import reverse
from django.utils import timezone

from accounts.models import AuditEvent
from accounts.staff.roles import FINANCE
from billing.ledger import price_changes
from billing.ledger.price_changes import PriceExists, PriceRefused
from billing.models import Package, Price, PromotionCode
from billing.topups import packages
from billing.topups.packages import PackageRefused
from tests.support.cast import CREDIT, UserFactory

KEY = "gemma-3-1b"


@pytest.fixture
def finance(catalogue):
    user = UserFactory.create(email="finance@example.com", is_staff=True)
    user.groups.add(Group.objects.get(name=FINANCE))
    return user


@pytest.fixture
def desk(client, finance):
    """The admin, with finance at it."""
    client.force_login(finance)
    return client


def event(action):
    return AuditEvent.objects.get(action=action)


def add_price(desk, begins=None, **changes):
    fields = {"model_key": KEY, "prompt_microcredits_per_token": 90, "completion_microcredits_per_token": 180}
    moment = {} if begins is None else {"effective_at_0": f"{begins:%Y-%m-%d}", "effective_at_1": f"{begins:%H:%M:%S}"}
    return desk.post(reverse("admin:billing_price_add"), fields | moment | changes)


# Prices


def test_a_price_begins_now_and_is_on_record_with_the_one_before(desk, finance):
    before = Price.objects.current(KEY)
    assert add_price(desk).status_code == 302
    now = Price.objects.current(KEY)
    assert (now.prompt_microcredits_per_token, now.created_by) == (90, finance)
    noted = event("price added")
    assert (noted.actor, noted.details["model"], noted.details["price"]) == (finance, KEY, str(now.pk))
    assert noted.details["prompt_microcredits_per_token"] == f"{before.prompt_microcredits_per_token} → 90"
    assert noted.details["effective_at"] == now.effective_at.isoformat()


@pytest.mark.parametrize("ago", [timedelta(minutes=2), timedelta(days=300)])
def test_a_price_in_the_past_is_refused(desk, finance, ago):
    count, begins = Price.objects.count(), timezone.now() - ago
    answer = add_price(desk, begins)
    assert (answer.status_code, "cannot begin in the past" in answer.content.decode()) == (200, True)
    with pytest.raises(PriceRefused):
        price_changes.add_price(
            model_key=KEY,
            prompt_microcredits_per_token=1,
            completion_microcredits_per_token=1,
            effective_at=begins,
            by=finance,
        )
    assert Price.objects.count() == count
    assert not AuditEvent.objects.exists()


def test_a_price_of_a_moment_ago_begins_now_and_never_before(desk):
    """Or an answer of that moment would have been sold at a price that was not in effect."""
    before = timezone.now()
    assert add_price(desk, before - timedelta(seconds=30)).status_code == 302
    assert Price.objects.current(KEY).effective_at >= before


def test_the_same_price_again_is_refused(desk, finance):
    for begins, price in ((None, 80), (timezone.now() + timedelta(days=1), 70)):
        for _click in range(2):
            answer = add_price(desk, begins, prompt_microcredits_per_token=price)
        assert (answer.status_code, "errorlist" in answer.content.decode()) == (200, True)
    assert Price.objects.filter(created_by=finance).count() == 2
    with pytest.raises(PriceExists, match="already"):
        price_changes.add_price(
            model_key=KEY, prompt_microcredits_per_token=80, completion_microcredits_per_token=180, by=finance
        )


@pytest.mark.parametrize("price", ["0", "-1", str(10**9 + 1), "free"])
def test_a_price_outside_its_bounds_is_refused(desk, price):
    assert add_price(desk, prompt_microcredits_per_token=price).status_code == 200
    assert not AuditEvent.objects.exists()


# Packages


def package(**changes):
    fields = {
        "name": "Gift",
        "price_minor": 1000,
        "currency": "usd",
        "credits_microcredits": 1000 * CREDIT,
        "bonus_microcredits": 0,
        "position": 9,
    }
    return fields | changes


def test_a_package_is_added_and_changed_on_record(desk, finance):
    assert desk.post(reverse("admin:billing_package_add"), package(is_active="on")).status_code == 302
    made = Package.objects.get()
    assert event("package added").actor == finance
    assert event("package added").details["credits_microcredits"] == f"None → {1000 * CREDIT}"
    change = reverse("admin:billing_package_change", args=[made.pk])
    assert desk.post(change, package(bonus_microcredits=50 * CREDIT)).status_code == 302
    assert event("package changed").details == {
        "package": str(made.pk),
        "bonus_microcredits": f"0 → {50 * CREDIT}",
        "is_active": "True → False",
    }


OUT_OF_BOUNDS = [
    ({"price_minor": 1, "credits_microcredits": 10**9 * CREDIT}, "between 0.50 and 2.00 credits"),
    ({"price_minor": 1, "credits_microcredits": CREDIT, "bonus_microcredits": 10**9 * CREDIT}, "A bonus is at most"),
    ({"credits_microcredits": 1001 * CREDIT, "bonus_microcredits": 1000 * CREDIT}, "between 500.00 and 2,000.00"),
    ({"credits_microcredits": 499 * CREDIT}, "between 500.00 and 2,000.00"),
    ({"currency": "jpy"}, "sold in USD"),
]


@pytest.mark.parametrize(("changes", "message"), OUT_OF_BOUNDS)
def test_a_package_far_from_what_its_money_buys_is_refused(desk, finance, changes, message):
    packages.seed_packages()
    count, there = Package.objects.count(), Package.objects.first()
    for url in ("add", "change"):
        arguments = [there.pk] if url == "change" else []
        answer = desk.post(reverse(f"admin:billing_package_{url}", args=arguments), package(**changes))
        assert (answer.status_code, message in answer.content.decode()) == (200, True)
    with pytest.raises(PackageRefused):
        packages.save_package(package=Package(**package(**changes)), by=finance)
    assert (Package.objects.count(), Package.objects.first().name) == (count, there.name)
    assert not AuditEvent.objects.exists()


def test_a_package_of_twice_the_credits_is_the_most(desk):
    desk.post(reverse("admin:billing_package_add"), package(currency="USD", bonus_microcredits=1000 * CREDIT))
    assert (Package.objects.get().bonus_microcredits, Package.objects.get().currency) == (1000 * CREDIT, "usd")


# Codes


def test_a_code_is_added_and_changed_on_record_and_keeps_its_worth(desk, finance):
    fields = {"code": "welcome", "credits_microcredits": 5 * CREDIT, "most_per_user": 1, "most_redemptions": 9}
    moment = {"starts_at_0": "2026-01-01", "starts_at_1": "00:00"}
    assert (
        desk.post(reverse("admin:billing_promotioncode_add"), fields | moment | {"is_active": "on"}).status_code == 302
    )
    code = PromotionCode.objects.get(code="WELCOME")
    assert (event("code created").actor, event("code created").details["code"]) == (finance, "WELCOME")
    change = reverse("admin:billing_promotioncode_change", args=[code.pk])
    desk.post(change, fields | {"credits_microcredits": 10**9 * CREDIT, "most_redemptions": "", "most_per_user": 1000})
    code.refresh_from_db()
    assert (code.credits_microcredits, code.most_redemptions, code.most_per_user) == (5 * CREDIT, 9, 1)
    assert not code.is_active
    assert event("code changed").details == {"code": "WELCOME", "is_active": "True → False"}
    assert desk.post(reverse("admin:billing_promotioncode_add"), fields | moment).status_code == 200  # it is there


def test_the_database_refuses_a_bonus_above_what_is_bought(db):
    with pytest.raises(IntegrityError), transaction.atomic():
        Package.objects.create(**package(bonus_microcredits=1001 * CREDIT))


def test_codes_and_packages_are_not_deleted(client, staff, catalogue):
    packages.seed_packages()
    code = PromotionCode.objects.create(code="UNUSED", credits_microcredits=CREDIT)
    client.force_login(staff)
    for url in (
        reverse("admin:billing_promotioncode_delete", args=[code.pk]),
        reverse("admin:billing_package_delete", args=[Package.objects.first().pk]),
    ):
        assert client.post(url, {"post": "yes"}).status_code == 403
    assert (PromotionCode.objects.count(), Package.objects.count()) == (1, 3)
