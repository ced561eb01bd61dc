"""`verify_ledger` sees each kind of fault. The walls must be taken down to make one."""

import json

import pytest
from django.core.management import call_command
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from accounts import audit
from billing import ledger
from billing.models import Refund, TopUp
from tests.billing.holds import charge_from_cache, open_hold
from tests.billing.orders import complete, order, refunded
from tests.support.cast import fund
from tests.support.databases.owner import as_owner

pytestmark = pytest.mark.usefixtures("ledger_alone")


@pytest.fixture
def tamper(alice):
    """Run a statement with the walls down."""

    def run(statement):
        tables = ("billing_wallet", "billing_ledgerentry", "billing_hold", "billing_grant", "billing_grantuse")
        with connection.cursor() as cursor:
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
            for table in tables:
                as_owner(f"ALTER TABLE {table} DISABLE TRIGGER USER")
            as_owner(statement)
            for table in tables:
                as_owner(f"ALTER TABLE {table} ENABLE TRIGGER USER")

    return run


def test_a_sound_ledger_has_no_fault_and_exits_0(alice, capsys):
    ledger.settle(hold_id=open_hold(alice).pk, completion_tokens=3)
    call_command("verify_ledger")
    assert "0 faults in 2 entries" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("statement", "sentence"),
    [
        ("UPDATE billing_wallet SET balance_microcredits = balance_microcredits + 1", "entries sum to"),
        ("UPDATE billing_wallet SET held_microcredits = 5", "active holds sum to"),
        ("UPDATE billing_ledgerentry SET balance_after_microcredits = 1 WHERE kind = 'bonus'", "balance after is 1"),
        (
            "DELETE FROM billing_grantuse; DELETE FROM billing_ledgerentry WHERE kind = 'usage'",
            "its usage entries sum to 0",
        ),
        ("DELETE FROM billing_grantuse", "its grant and uses sum to 0"),
        ("UPDATE billing_grant SET remaining_microcredits = 7", "its amount and uses leave"),
        ("UPDATE billing_grant SET remaining_microcredits = 7", "its grants have 7 left"),
        (
            "UPDATE billing_hold SET state = 'released', charged_microcredits = NULL, completion_tokens = NULL",
            "which is released",
        ),
    ],
)
def test_each_kind_of_tampering_is_a_fault(alice, tamper, faults, statement, sentence):
    ledger.settle(hold_id=open_hold(alice).pk, completion_tokens=3)
    assert faults() == []
    tamper(statement)
    assert any(sentence in fault for fault in faults()), faults()


@pytest.mark.parametrize(
    ("statement", "sentence"),
    [
        (
            "UPDATE billing_hold SET prompt_microcredits_per_token = 21, completion_microcredits_per_token = 1,"
            " amount_microcredits = 213, charged_microcredits = 213",
            "from the cache for 21 and 1 a token, the prices then were 20 and 40",
        ),
        ("UPDATE billing_hold SET model_key = 'free-lunch'", "the prices then were None and None"),
        (
            "UPDATE billing_hold SET state = 'active', charged_microcredits = NULL, completion_tokens = NULL,"
            " closed_at = NULL",
            "active, though an answer from the cache is charged in the transaction that holds it",
        ),
    ],
)
def test_an_answer_from_the_cache_at_another_price_or_not_charged_is_a_fault(
    alice, tamper, faults, statement, sentence
):
    charge_from_cache(alice)
    assert faults() == []
    tamper(statement)
    assert any(sentence in fault for fault in faults()), faults()


def test_nothing_is_built_upon_a_balance_that_its_entries_do_not_bear_out(alice, tamper):
    tamper("UPDATE billing_wallet SET balance_microcredits = balance_microcredits + 1; SET CONSTRAINTS ALL DEFERRED")
    with pytest.raises(IntegrityError, match="the wallet has 100000006, not 100000005"), transaction.atomic():
        fund(alice, 5, key="next")


def test_refunds_that_their_entries_do_not_bear_out_are_faults(bob, staff, faults):
    topup = order(bob)
    complete(topup)
    refunded(topup, 200)
    refund = Refund.objects.create(
        topup=topup,
        amount=200,
        reason="A test",
        idempotency_key="k",
        requested_by=staff,
        decided_by=staff,
        decided_at=timezone.now(),
        state="done",
    )
    for action in ("refund requested", "refund done"):
        audit.record(actor=staff, action=action, subject=bob, refund=refund.pk)
    assert faults() == []
    Refund.objects.filter(pk=refund.pk).update(amount=201)
    assert any("200 refunded, our own refunds that are done sum to 201" in fault for fault in faults())
    TopUp.objects.filter(pk=topup.pk).update(refunded_minor=300)
    assert any("its refunds and disputes ask for 300" in fault for fault in faults())
    hold = ledger.settle(hold_id=open_hold(bob).pk, completion_tokens=3)
    Refund.objects.filter(pk=refund.pk).update(topup=None, hold=hold)
    assert any(f"refund {refund.pk}: done, of 201, its entries sum to 0" in fault for fault in faults())


def test_a_hold_that_nobody_closed_is_a_fault(alice, settings, faults):
    settings.HOLD_LIFETIME_SECONDS = -3600
    open_hold(alice)
    assert any("still active" in fault for fault in faults())


def test_faults_exit_1_and_come_as_json(alice, tamper, capsys):
    tamper("UPDATE billing_wallet SET balance_microcredits = 7")
    with pytest.raises(SystemExit) as ended:
        call_command("verify_ledger", json=True)
    assert ended.value.code == 1
    report = json.loads(capsys.readouterr().out)
    assert len(report["faults"]) == 3  # its entries, its grants, and the books
    assert report["accounts_microcredits"]["wallets"] == 7
