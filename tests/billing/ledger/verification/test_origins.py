"""What adds up and yet is forged: each entry, charge and deed has its origin, or `verify_ledger` says that it has none.

Each forgery is made by the owner of the tables, with the walls down, and leaves every sum right.
"""

from datetime import timedelta
from uuid import uuid4

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from accounts.models import AuditEvent
from billing import adjustments, ledger
from billing.models import EntryKind, Hold, LedgerEntry, PromotionCode, Refund
from billing.refunds import requests
from billing.topups import promotions
from inference.models import Generation
from tests.billing.ledger.verification.forging import forge
from tests.billing.orders import complete, order
from tests.support.cast import CREDIT, UserFactory, answered_talk, fund


def found(faults, *words):
    """Whether one fault has all these words."""
    return any(all(word in fault for word in words) for fault in faults())


@pytest.fixture
def boss(catalogue):
    """A second one of the staff."""
    return UserFactory.create(email="boss@example.com", is_staff=True, is_superuser=True)


@pytest.fixture
def hold(alice, catalogue):
    """A charge that paid for an answer."""
    answered_talk(alice, catalogue)
    return Hold.objects.get()


@pytest.fixture
def paid(bob):
    """An order that was paid and credited, with its bonus."""
    topup = order(bob, 500, bonus=50 * CREDIT)
    complete(topup)
    return topup


@pytest.mark.parametrize("key", ["paid-in-cash", "topup:{0}", "topup:no-number"])
def test_a_top_up_without_an_order_is_a_fault(alice, faults, key):
    ledger.grant(
        user=alice,
        kind=EntryKind.TOP_UP,
        amount_microcredits=5 * CREDIT,
        idempotency_key=key.format(uuid4()),
        reason="top-up",
    )
    assert found(faults, "top_up of 5000000", "no paid order")


@pytest.mark.parametrize("key", ["topup", "topup-bonus"])
def test_a_paid_order_credited_to_another_wallet_is_a_fault(charlie, paid, faults, key):
    assert faults() == []
    entry = LedgerEntry.objects.get(idempotency_key=f"{key}:{paid.pk}")
    forge(f"UPDATE billing_grant SET wallet_id = {charlie.wallet.pk} WHERE entry_id = {entry.pk}")
    forge(f"UPDATE billing_ledgerentry SET wallet_id = {charlie.wallet.pk} WHERE id = {entry.pk}")
    assert found(faults, f"entry {entry.pk}", f"to wallet {charlie.wallet.pk}", "no paid order of its customer")


def test_a_bonus_that_is_booked_as_bought_is_a_fault(paid, faults):
    forge("UPDATE billing_ledgerentry SET kind = 'top_up' WHERE kind = 'bonus'")
    assert found(faults, "no paid order of its customer")


@pytest.mark.parametrize("key", ["refund-of-the-bank", "claw-back:{0}:1"])
def test_a_chargeback_that_gives_credits_without_an_order_is_a_fault(alice, faults, key):
    fund(alice, CREDIT, key=key.format(uuid4()))
    forge("UPDATE billing_ledgerentry SET kind = 'chargeback' WHERE amount_microcredits = 1000000")
    assert found(faults, "chargeback of 1000000", "no order and no debt")


def test_a_promotion_without_a_redemption_is_a_fault(alice, faults):
    code = PromotionCode.objects.create(code="SPRING", credits_microcredits=CREDIT)
    redemption = promotions.redeem_code(user=alice, text="spring")
    assert faults() == []
    ledger.grant(
        user=alice,
        kind=EntryKind.PROMOTION,
        amount_microcredits=CREDIT,
        idempotency_key=f"code:{code.pk}:{alice.wallet.pk}:2",
        reason="code SPRING",
    )
    assert found(faults, "promotion of 1000000", "no redemption")
    assert not found(faults, f"entry {redemption.entry_id}:")


def test_a_promotion_of_more_than_its_code_is_a_fault(alice, faults):
    PromotionCode.objects.create(code="SPRING", credits_microcredits=CREDIT)
    promotions.redeem_code(user=alice, text="spring")
    PromotionCode.objects.update(credits_microcredits=1)
    assert found(faults, "promotion of 1000000", "no redemption")


def adjusted(user, by):
    return adjustments.adjust_credits(
        user=user, amount_microcredits=5, idempotency_key=str(uuid4()), reason="Sorry", by=by
    )


@pytest.mark.parametrize("columns", ["created_by_id = NULL", "reason = ''"])
def test_the_database_refuses_an_adjustment_without_an_author_or_a_reason(alice, staff, faults, columns):
    adjusted(alice, staff)
    assert faults() == []
    statement = f"UPDATE billing_ledgerentry SET {columns} WHERE kind = 'adjustment'"
    with (
        pytest.raises(IntegrityError, match="billing_entry_adjustment_has_an_author_and_a_reason"),
        transaction.atomic(),
    ):
        forge(statement)
    forge("ALTER TABLE billing_ledgerentry DROP CONSTRAINT billing_entry_adjustment_has_an_author_and_a_reason")
    forge(statement)
    assert found(faults, "adjustment of 5", "is not known")


def test_an_adjustment_that_nobody_asked_for_is_a_fault(alice, staff, faults):
    ledger.adjust(user=alice, amount_microcredits=5, idempotency_key="k", reason="Sorry", by=staff)
    assert found(faults, "adjustment of 5", "is not known")


@pytest.mark.parametrize("amount", [5, -5])
def test_what_is_given_up_is_a_fault_where_no_account_was_closed(alice, faults, amount):
    key = f"closed:{alice.pk}"
    ledger.adjust(user=alice, amount_microcredits=amount, idempotency_key=key, reason="given up", by=alice)
    assert found(faults, f"adjustment of {amount}", "is not known")
    AuditEvent.objects.create(actor=alice, subject=alice, action="account closed")
    assert found(faults, f"adjustment of {amount}", "is not known") is (amount > 0)


def test_an_adjustment_of_another_sum_than_was_asked_for_is_a_fault(alice, staff, faults):
    adjusted(alice, staff)
    forge("UPDATE billing_adjustment SET amount_microcredits = 4")
    assert found(faults, "adjustment of 5", "is not known")


def test_an_adjustment_of_before_there_were_requests_needs_its_event_alone(alice, staff, faults):
    adjusted(alice, staff)
    forge("DELETE FROM billing_adjustment; UPDATE accounts_auditevent SET details = details - 'adjustment'")
    assert faults() == []


def refunded(hold, by, amount=10):
    return requests.request_refund(by=by, amount=amount, reason="Poor", idempotency_key=str(uuid4()), hold=hold)


def test_a_refund_without_a_request_is_a_fault(hold, staff, faults):
    refunded(hold, staff)
    assert faults() == []
    ledger.refund(hold_id=hold.pk, amount_microcredits=9, idempotency_key="r", reason="Poor", by=staff)
    assert found(faults, "refund of 9", "no refund that is done")


@pytest.mark.parametrize("key", ["r", "undelivered:{generation}", "refund:{other}"])
def test_a_refund_by_nobody_of_an_answer_that_was_handed_over_is_a_fault(hold, faults, key):
    key = key.format(generation=hold.generation.pk, other=uuid4())
    ledger.refund(hold_id=hold.pk, amount_microcredits=9, idempotency_key=key, reason="Lost", by=None)
    assert found(faults, "refund of 9", "by nobody, of no answer that was lost")


def test_a_refund_of_an_answer_that_was_not_handed_over_is_none(hold, faults):
    Generation.objects.update(idempotency_key=f"api:{uuid4()}")
    key = f"undelivered:{hold.generation.pk}"
    ledger.refund_rest(hold_id=hold.pk, idempotency_key=key, reason="Lost")
    assert faults() == []


def test_the_database_refuses_a_refund_without_a_hold(hold, staff, faults):
    refunded(hold, staff)
    statement = "UPDATE billing_ledgerentry SET hold_id = NULL WHERE kind = 'refund'"
    with pytest.raises(IntegrityError, match="billing_entry_refund_names_its_hold_and_why"), transaction.atomic():
        forge(statement)
    forge("ALTER TABLE billing_ledgerentry DROP CONSTRAINT billing_entry_refund_names_its_hold_and_why")
    forge(statement)
    assert found(faults, "refund of 10 for hold None", "no refund that is done")


def test_the_database_refuses_an_unknown_kind_of_entry(alice, faults):
    statement = "UPDATE billing_ledgerentry SET kind = 'gift'"
    with pytest.raises(IntegrityError, match="billing_entry_kind_is_known"), transaction.atomic():
        forge(statement)
    forge("ALTER TABLE billing_ledgerentry DROP CONSTRAINT billing_entry_kind_is_known")
    forge(statement)
    assert found(faults, "gift, which is no kind of entry")


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("UPDATE billing_hold SET reference = 'generation:' || gen_random_uuid()", "paid for generation"),
        ("UPDATE inference_generation SET prompt_tokens = 21", "paid for generation"),
        ("UPDATE inference_generation SET model_id = 'gemma-3-1b'", "of gemma-3-1b"),
        ("UPDATE inference_generation SET user_id = (SELECT MAX(id) FROM accounts_user)", "paid for generation"),
        (
            "UPDATE billing_hold SET prompt_tokens = 1, amount_microcredits = 420, charged_microcredits = 140",
            "1 prompt tokens of gemma-3-270m",
        ),
    ],
)
def test_a_charge_for_another_answer_than_its_own_is_a_fault(hold, charlie, faults, statement, words):
    assert faults() == []
    forge(statement)
    assert found(faults, f"hold {hold.pk}", words)


@pytest.mark.parametrize("reference", ["generation:{0}", "test:{0}", "anything"])
def test_a_charge_for_no_answer_is_a_fault_whatever_it_calls_itself(alice, faults, reference):
    hold = ledger.hold(
        user=alice,
        model_key="gemma-3-270m",
        prompt_tokens=10,
        max_completion_tokens=10,
        reference=reference.format(uuid4()),
    )
    assert faults() == []
    ledger.settle(hold_id=hold.pk, completion_tokens=3)
    assert found(faults, f"hold {hold.pk}", "paid for no answer")


@pytest.mark.parametrize("way", ["dearer", "future", "past", "another model"])
def test_a_price_that_was_not_in_effect_is_a_fault(hold, faults, way):
    earlier = timezone.now() - timedelta(days=3)
    forge(f"UPDATE billing_hold SET created_at = '{earlier.isoformat()}'")
    assert faults() == []
    forge(
        {
            "dearer": "UPDATE billing_hold SET prompt_microcredits_per_token = 19,"
            " amount_microcredits = 780, charged_microcredits = 500;"
            "UPDATE inference_generation SET prompt_tokens = 20",
            "future": "UPDATE billing_price SET effective_at = now()",
            "past": "INSERT INTO billing_price (model_key, prompt_microcredits_per_token,"
            " completion_microcredits_per_token, effective_at, created_at)"
            " SELECT model_key, 1, 1, now() - interval '4 days', now() - interval '4 days' FROM billing_price"
            " WHERE model_key = 'gemma-3-270m'",
            "another model": "UPDATE billing_price SET model_key = 'x' WHERE model_key = 'gemma-3-270m'",
        }[way]
    )
    assert found(faults, f"hold {hold.pk}", "which was no price of it then")


def test_a_stopped_answer_whose_hold_was_released_is_a_fault(hold, faults):
    forge("UPDATE inference_generation SET state = 'stopped'")
    assert faults() == []
    forge(
        "DELETE FROM billing_grantuse; DELETE FROM billing_ledgerentry WHERE kind = 'usage';"
        "UPDATE billing_hold SET state = 'released', charged_microcredits = NULL, completion_tokens = NULL;"
        "UPDATE billing_grant SET remaining_microcredits = amount_microcredits;"
        "UPDATE billing_wallet SET balance_microcredits = 100000000"
    )
    assert [fault.partition(",")[0] for fault in faults()] == [
        f"generation {hold.generation.pk}: stopped with 3 tokens"
    ]


@pytest.mark.parametrize("state", ["queued", "running"])
def test_a_running_answer_whose_hold_expired_is_a_fault(alice, hold, faults, state):
    answer = hold.generation
    answer.pk, answer.idempotency_key, answer.state, answer.ended_at = uuid4(), "second", state, None
    answer.hold = ledger.hold(
        user=alice,
        model_key=answer.model_id,
        prompt_tokens=20,
        max_completion_tokens=10,
        reference=f"generation:{answer.pk}",
    )
    answer.save(force_insert=True)
    assert faults() == []
    ledger.release(hold_id=answer.hold.pk, expired=True)
    assert found(faults, f"generation {answer.pk}: {state}", "its hold is expired")


def test_deleted_audit_events_are_faults(alice, bob, hold, staff, boss, faults):
    adjusted(bob, staff)
    refunded(hold, staff)
    approved = Refund.objects.create(hold=hold, amount=5, reason="Poor", idempotency_key="x", requested_by=staff)
    forge(
        "INSERT INTO accounts_auditevent (actor_id, action, details, created_at) VALUES"
        f" ({staff.pk}, 'refund requested', '{{\"refund\": \"{approved.pk}\"}}', now())"
    )
    requests.decide_refund(refund=approved, by=boss, is_approved=True)
    promotions.create_code(code="ONE", credits_microcredits=5, most_redemptions=1, by=staff)
    terms = promotions.CodeTerms(credits_microcredits=CREDIT, batch="many")
    promotions.generate_codes(terms=terms, count=2, by=staff)
    assert faults() == []
    forge("DELETE FROM accounts_auditevent")
    for words in ("refund requested", "refund approved", "refund done", "credits adjusted", "code ONE"):
        assert found(faults, words, "audit log"), words
    assert sum("codes generated" in fault or "made it" in fault for fault in faults()) == 3
