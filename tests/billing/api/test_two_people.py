"""Two people through the API: what is above one person's limit waits, and nobody acts for themselves."""

import pytest
from django.contrib.auth.models import Group

from accounts.staff.roles import FINANCE
from billing.models import LedgerEntry, PromotionCode, Wallet
from tests.billing.refunds.adjusting import WAITING, adjust
from tests.support.cast import CREDIT, UserFactory

ADMIN = "/api/v1/admin"


def finance(name):
    user = UserFactory.create(email=f"{name}@example.com", is_staff=True)
    user.groups.add(Group.objects.get(name=FINANCE))
    return user


@pytest.fixture
def fred(catalogue):
    return finance("fred")


@pytest.fixture
def gina(catalogue):
    return finance("gina")


def test_an_adjustment_waits_and_is_decided_through_the_api(login, fred, gina, alice, faults):
    body, key = {"amount_microcredits": 1001 * CREDIT, "reason": "a gift"}, {"HTTP_IDEMPOTENCY_KEY": "k"}
    first, again = (login(fred).post(f"{ADMIN}/users/{alice.pk}/adjustments", body, **key) for _ in range(2))
    assert (first.status_code, first.json()["state"], first.json()["ledger_entry_id"]) == (201, WAITING, None)
    assert again.json() == first.json()
    one = f"{ADMIN}/adjustments/{first.json()['id']}"
    assert login(fred).post(f"{one}/approve").status_code == 422
    client = login(gina)
    assert [row["id"] for row in client.get(f"{ADMIN}/adjustments?state=waiting").json()["results"]] == [
        first.json()["id"]
    ]
    done = client.post(f"{one}/approve")
    assert (done.status_code, done.json()["decided_by_id"]) == (200, gina.pk)
    assert client.get(one).json() == done.json()
    assert client.post(f"{one}/reject").status_code == 422
    assert Wallet.objects.get(user=alice).balance_microcredits == 1101 * CREDIT
    too_much = {"amount_microcredits": -5000 * CREDIT, "reason": "all"}
    answer = client.post(f"{ADMIN}/users/{alice.pk}/adjustments", too_much, HTTP_IDEMPOTENCY_KEY="l")
    assert answer.status_code == 402
    assert faults() == []


def test_codes_wait_and_are_approved_through_the_api(login, fred, gina, alice):
    body = {"code": "welcome", "credits_microcredits": 5 * CREDIT}
    code = login(fred).post(f"{ADMIN}/codes", body).json()
    assert (code["is_waiting"], code["created_by_id"]) == (True, fred.pk)
    stock = {"batch": "fair", "count": 1000, "credits_microcredits": 5 * CREDIT}
    assert login(fred).post(f"{ADMIN}/codes/stocks", stock).json()["is_waiting"]
    assert login(fred).post(f"{ADMIN}/codes/{code['id']}/approve").status_code == 422
    assert login(gina).post(f"{ADMIN}/codes/{code['id']}/approve").json()["approved_by_id"] == gina.pk
    assert len(login(gina).get(f"{ADMIN}/codes?is_waiting=true").json()["results"]) == 20
    one = PromotionCode.objects.filter(batch="fair").first()
    assert login(gina).post(f"{ADMIN}/codes/{one.pk}/approve").json()["is_waiting"] is False
    assert not PromotionCode.objects.filter(is_waiting=True).exists()


def test_nobody_acts_for_themselves_through_the_api(login, fred, gina, alice, faults):
    body, key = {"amount_microcredits": 5, "reason": "me"}, {"HTTP_IDEMPOTENCY_KEY": "k"}
    answer = login(fred).post(f"{ADMIN}/users/{fred.pk}/adjustments", body, **key)
    assert (answer.status_code, "your own account" in answer.json()["detail"]) == (422, True)
    adjustment = adjust(fred, gina, 5000)
    for decision in ("approve", "reject"):
        assert login(gina).post(f"{ADMIN}/adjustments/{adjustment.pk}/{decision}").status_code == 422
    assert not LedgerEntry.objects.filter(kind="adjustment").exists()
    assert faults() == []
