"""Staff through the API: reasons, records, second persons, exactly once."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import Group
from django.urls import reverse
from django.utils import timezone

from accounts.models import AuditEvent, User
from accounts.staff.roles import FINANCE, SUPPORT
from billing import ledger
from billing.models import LedgerEntry, Price, PromotionCode, Refund, TopUp
from billing.topups.orders import offer_of_amount, start_topup
from billing.topups.sandbox import play
from tests.billing.holds import open_hold
from tests.support.cast import CREDIT, UserFactory, at_once

pytestmark = pytest.mark.usefixtures("without_answers")

KEY = {"HTTP_IDEMPOTENCY_KEY": "staff-1"}
ADMIN = "/api/v1/admin"


@pytest.fixture
def member(catalogue):
    """Call it for somebody who works here, in one role."""

    def make(role):
        user = UserFactory.create(email=f"{role}@example.com", is_staff=True)
        user.groups.add(Group.objects.get(name=role))
        return user

    return make


@pytest.fixture
def support(member):
    return member(SUPPORT)


@pytest.fixture
def finance(member):
    return member(FINANCE)


@pytest.fixture
def charged(alice):
    return ledger.settle(hold_id=open_hold(alice).pk, completion_tokens=42)


@pytest.fixture
def paid(alice):
    topup = start_topup(user=alice, offer=offer_of_amount(500), idempotency_key="k")
    play(topup=topup, action="pay")
    topup.refresh_from_db()
    return topup


def test_users_are_found_by_part_of_their_address(login, support, alice, bob, django_assert_num_queries):
    client = login(support)
    with django_assert_num_queries(4):
        found = client.get(f"{ADMIN}/users?search=ALI").json()["results"]
    assert [user["email"] for user in found] == ["alice@example.com"]
    User.objects.filter(pk=bob.pk).update(is_active=False)
    suspended = client.get(f"{ADMIN}/users?is_active=false").json()["results"]
    assert [user["email"] for user in suspended] == ["bob@example.com"]
    assert client.get(f"{ADMIN}/users/{alice.pk}").json()["email"] == "alice@example.com"
    assert client.get(f"{ADMIN}/users/999999").status_code == 404


def test_support_suspends_and_restores_with_a_reason(login, support, alice, client):
    theirs, ours = login(alice), login(support)
    client.force_login(alice)
    for _ in range(2):
        answer = ours.post(f"{ADMIN}/users/{alice.pk}/suspend", {"reason": "stolen card"})
        assert (answer.status_code, answer.json()["is_active"]) == (200, False)
    assert theirs.get("/api/v1/me").status_code == 401
    assert client.get(reverse("billing:overview")).status_code == 302
    assert ours.post(f"{ADMIN}/users/{alice.pk}/restore", {"reason": "it was hers"}).json()["is_active"]
    assert theirs.get("/api/v1/me").status_code == 401  # she logs in anew
    assert client.get(reverse("billing:overview")).status_code == 302
    assert login(User.objects.get(pk=alice.pk)).get("/api/v1/me").status_code == 200
    recorded = AuditEvent.objects.filter(subject=alice).values_list("action", "actor__email", "details__reason")
    assert list(recorded.order_by("pk")) == [
        ("user suspended", "support@example.com", "stolen card"),
        ("user restored", "support@example.com", "it was hers"),
    ]


def test_log_ins_are_ended_on_pages_and_api_and_keys_stay(login, with_key, support, alice, client):
    theirs, key = login(alice), with_key(alice)
    client.force_login(alice)
    assert login(support).post(f"{ADMIN}/users/{alice.pk}/end-log-ins", {"reason": "lost phone"}).status_code == 200
    assert theirs.get("/api/v1/me").status_code == 401
    assert client.get(reverse("billing:overview")).status_code == 302
    assert key.get("/api/v1/me").status_code == 200
    client.force_login(User.objects.get(pk=alice.pk))
    assert client.get(reverse("billing:overview")).status_code == 200


def test_nobody_suspends_themselves_or_their_betters(login, support, finance, staff):
    client = login(support)
    for user in (support, finance, staff):
        answer = client.post(f"{ADMIN}/users/{user.pk}/suspend", {"reason": "coup"})
        assert (answer.status_code, User.objects.get(pk=user.pk).is_active) == (422, True)
    assert login(staff).post(f"{ADMIN}/users/{finance.pk}/suspend", {"reason": "left"}).status_code == 200


@pytest.mark.parametrize("body", [{}, {"reason": ""}, {"reason": "  "}, {"reason": "x" * 201}, {"reason": 5}])
def test_a_suspension_needs_a_reason(login, support, alice, body):
    assert login(support).post(f"{ADMIN}/users/{alice.pk}/suspend", body).status_code == 400
    assert User.objects.get(pk=alice.pk).is_active


def test_a_closed_account_is_not_restored(login, staff, alice):
    from billing.closing import close_account

    close_account(user=alice, forfeits_microcredits=100 * CREDIT)
    answer = login(staff).post(f"{ADMIN}/users/{alice.pk}/restore", {"reason": "please"})
    assert (answer.status_code, User.objects.get(pk=alice.pk).is_active) == (422, False)


def test_the_audit_log_is_read_and_filtered(login, finance, support, alice, django_assert_num_queries):
    login(support).post(f"{ADMIN}/users/{alice.pk}/suspend", {"reason": "stolen card"})
    client = login(finance)
    with django_assert_num_queries(4):
        events = client.get(f"{ADMIN}/audit?subject_id={alice.pk}").json()["results"]
    assert [event["details"] for event in events] == [{"reason": "stolen card"}]
    assert client.get(f"{ADMIN}/audit?action=nothing").json()["results"] == []
    for wrong in ("subject_id=x", "actor_id=99999999999999999999", "actor_id=0"):
        assert client.get(f"{ADMIN}/audit?{wrong}").status_code == 400


def test_staff_sees_a_customers_wallet_and_entries(login, support, alice, charged, django_assert_num_queries):
    client = login(support)
    with django_assert_num_queries(5):
        wallet = client.get(f"{ADMIN}/users/{alice.pk}/wallet").json()
    assert wallet["balance_microcredits"] == 100 * CREDIT - charged.charged_microcredits
    with django_assert_num_queries(5):
        entries = client.get(f"{ADMIN}/users/{alice.pk}/ledger-entries?kind=usage").json()["results"]
    assert [entry["amount_microcredits"] for entry in entries] == [-charged.charged_microcredits]
    for path in ("wallet", "ledger-entries"):
        assert client.get(f"{ADMIN}/users/999999/{path}").status_code == 404


def test_an_adjustment_is_made_once(login, finance, alice, faults):
    client, body = login(finance), {"amount_microcredits": -5, "reason": "as agreed"}
    first = client.post(f"{ADMIN}/users/{alice.pk}/adjustments", body, **KEY)
    again = client.post(f"{ADMIN}/users/{alice.pk}/adjustments", body, **KEY)
    assert (first.status_code, again.json()) == (201, first.json())
    for other in ({"amount_microcredits": -6}, {"reason": "otherwise"}):
        refused = client.post(f"{ADMIN}/users/{alice.pk}/adjustments", body | other, **KEY)
        assert (refused.status_code, refused.json()["code"]) == (409, "idempotency_conflict")
    assert LedgerEntry.objects.filter(kind="adjustment").count() == 1
    assert AuditEvent.objects.get().action == "credits adjusted"
    assert faults() == []


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"amount_microcredits": 0}, 422),
        ({"amount_microcredits": "5"}, 400),
        ({"amount_microcredits": 0.5}, 400),
        ({"amount_microcredits": 10**13 + 1}, 400),
        ({"amount_microcredits": -101 * CREDIT}, 402),
        ({"reason": ""}, 400),
    ],
)
def test_an_adjustment_that_makes_no_sense_is_refused(login, finance, alice, body, status):
    body = {"amount_microcredits": 5, "reason": "as agreed"} | body
    answer = login(finance).post(f"{ADMIN}/users/{alice.pk}/adjustments", body, **KEY)
    assert answer.status_code == status
    if status == 402:
        assert answer.json()["available_microcredits"] == 100 * CREDIT
    assert not LedgerEntry.objects.filter(kind="adjustment").exists()


def test_finance_refunds_an_answer_once(login, finance, alice, charged, faults):
    body = {"hold_id": str(charged.pk), "amount_microcredits": 10, "reason": "cut off"}
    client = login(finance)
    first, again = (client.post(f"{ADMIN}/refunds", body, **KEY) for _ in range(2))
    assert (first.status_code, first.json()["state"]) == (201, "done")
    assert again.json() == first.json()
    conflict = client.post(f"{ADMIN}/refunds", body | {"amount_microcredits": 11}, **KEY)
    assert conflict.status_code == 409
    most = charged.charged_microcredits
    above = client.post(f"{ADMIN}/refunds", body | {"amount_microcredits": most}, HTTP_IDEMPOTENCY_KEY="other")
    assert above.status_code == 422
    assert login(alice).get(f"/api/v1/receipts/{charged.pk}").json()["refunded_microcredits"] == 10
    assert client.get(f"{ADMIN}/refunds/{first.json()['id']}").json() == first.json()
    assert faults() == []


def test_a_refund_that_support_asks_for_waits_for_finance(login, support, finance, charged):
    body = {"hold_id": str(charged.pk), "amount_microcredits": 10, "reason": "cut off"}
    client = login(support)
    refund = client.post(f"{ADMIN}/refunds", body, **KEY).json()
    assert refund["state"] == "waiting"
    assert client.post(f"{ADMIN}/refunds/{refund['id']}/approve").status_code == 403
    decider = login(finance)
    assert [row["id"] for row in decider.get(f"{ADMIN}/refunds?state=waiting").json()["results"]] == [refund["id"]]
    assert decider.post(f"{ADMIN}/refunds/{refund['id']}/approve").json()["state"] == "done"
    assert decider.post(f"{ADMIN}/refunds/{refund['id']}/reject").status_code == 422


def test_a_waiting_refund_is_rejected(login, support, finance, charged, faults):
    body = {"hold_id": str(charged.pk), "amount_microcredits": 10, "reason": "cut off"}
    refund = login(support).post(f"{ADMIN}/refunds", body, **KEY).json()
    assert login(finance).post(f"{ADMIN}/refunds/{refund['id']}/reject").json()["state"] == "rejected"
    assert not LedgerEntry.objects.filter(kind="refund").exists()
    assert faults() == []


def test_a_payment_is_refunded_by_finance_alone(login, support, finance, paid, faults):
    body = {"topup_id": str(paid.pk), "amount_minor": 200, "reason": "changed their mind"}
    assert login(support).post(f"{ADMIN}/refunds", body, **KEY).status_code == 403
    assert login(finance).post(f"{ADMIN}/refunds", body, **KEY).json()["state"] == "done"
    assert TopUp.objects.get().refunded_minor == 200
    assert faults() == []


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"hold_id": None}, 400),
        ({"hold_id": "x"}, 400),
        ({"hold_id": "00000000-0000-0000-0000-000000000000"}, 404),
        ({"amount_microcredits": 0}, 400),
        ({"amount_minor": 5}, 400),
        ({"reason": ""}, 400),
    ],
)
def test_a_refund_that_makes_no_sense_is_refused(login, finance, charged, change, status):
    body = {"hold_id": str(charged.pk), "amount_microcredits": 10, "reason": "cut off"} | change
    assert login(finance).post(f"{ADMIN}/refunds", body, **KEY).status_code == status
    assert Refund.objects.count() == 0


@pytest.mark.django_db(transaction=True)
def test_refunding_twice_at_once_refunds_once(login, finance, charged, faults):
    client = login(finance)
    body = {"hold_id": str(charged.pk), "amount_microcredits": charged.charged_microcredits, "reason": "cut off"}
    answers = at_once(4, lambda _n: client.post(f"{ADMIN}/refunds", body, **KEY))
    assert {answer.status_code for answer in answers} == {201}
    assert LedgerEntry.objects.filter(kind="refund").count() == 1
    assert faults() == []


def test_a_code_is_made_used_and_withdrawn(login, finance, alice):
    client = login(finance)
    body, other = {"code": "welcome", "credits_microcredits": CREDIT, "most_redemptions": 2}, {"idempotency-key": "2"}
    made = client.post(f"{ADMIN}/codes", body)
    assert (made.status_code, made.json()["code"]) == (201, "WELCOME")
    assert client.post(f"{ADMIN}/codes", body).status_code == 409
    assert login(alice).post("/api/v1/codes", {"code": "welcome"}, **KEY).status_code == 201
    withdrawn = client.post(f"{ADMIN}/codes/{made.json()['id']}/withdraw").json()
    assert (withdrawn["is_active"], withdrawn["redemptions_count"]) == (False, 1)
    assert login(alice).post("/api/v1/codes", {"code": "welcome"}, headers=other).status_code == 422
    assert [code["code"] for code in client.get(f"{ADMIN}/codes?code=Welcome").json()["results"]] == ["WELCOME"]
    actions = AuditEvent.objects.filter(action__startswith="code ").order_by("pk").values_list("action", flat=True)
    assert list(actions) == ["code created", "code withdrawn"]


def test_a_stock_is_made_once_under_its_name(login, finance):
    client = login(finance)
    body = {"batch": "fair", "count": 3, "credits_microcredits": CREDIT}
    first, again = (client.post(f"{ADMIN}/codes/stocks", body) for _ in range(2))
    assert (first.status_code, len(set(first.json()["codes"]))) == (201, 3)
    assert again.json() == first.json()
    assert client.post(f"{ADMIN}/codes/stocks", body | {"count": 4}).status_code == 409
    assert client.post(f"{ADMIN}/codes/stocks", body | {"count": 1001}).status_code == 400
    assert PromotionCode.objects.count() == 3


def test_a_price_is_added_and_never_in_the_past(login, finance):
    client = login(finance)
    body = {"model_key": "gemma-3-1b", "prompt_microcredits_per_token": 5, "completion_microcredits_per_token": 6}
    now = client.post(f"{ADMIN}/prices", body)
    assert now.status_code == 201
    assert Price.objects.current("gemma-3-1b").pk == now.json()["id"]
    later = (timezone.now() + timedelta(days=1)).isoformat()
    assert client.post(f"{ADMIN}/prices", body | {"effective_at": later}).status_code == 201
    assert client.post(f"{ADMIN}/prices", body | {"effective_at": later}).status_code == 409
    assert Price.objects.current("gemma-3-1b").pk == now.json()["id"]
    assert client.post(f"{ADMIN}/prices", body | {"effective_at": "2020-01-01T00:00:00Z"}).status_code == 422
    for wrong in ({"prompt_microcredits_per_token": 0}, {"model_key": "a b"}, {"model_key": ""}):
        assert client.post(f"{ADMIN}/prices", body | wrong).status_code == 400
    newest = client.get(f"{ADMIN}/prices?model_key=gemma-3-1b").json()["results"]
    assert [price["prompt_microcredits_per_token"] for price in newest] == [5, 5, 100]
