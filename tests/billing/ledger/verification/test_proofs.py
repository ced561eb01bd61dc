"""The proof of an hour sees what is new, begins where the last one without a fault ended, and is kept."""

import json
from datetime import timedelta
from importlib import import_module

import pytest
from django.core.management import call_command
from django.db import ProgrammingError, connection, transaction

from billing import ledger, tasks
from billing.ledger.verification import proofs
from billing.models import Grant, LedgerEntry, Proof
from billing.topups.promotions import create_code
from config.celery import app
from tests.billing.holds import open_hold
from tests.billing.ledger.verification.forging import forge
from tests.billing.orders import complete, order
from tests.support.cast import CREDIT, at_once, fund

MIGRATION = import_module("billing.migrations.0034_entries_in_chains")

pytestmark = pytest.mark.usefixtures("ledger_alone")


@pytest.fixture
def proven(alice, bob, monkeypatch):
    """A charge of alice's and a payment of bob's, a day old and proven; nothing is under way any more."""
    monkeypatch.setattr(proofs, "SETTLING", timedelta(0))
    ledger.settle(hold_id=open_hold(alice).pk, completion_tokens=3)
    complete(order(bob))
    day = "interval '1 day'"
    forge(
        f"UPDATE billing_ledgerentry SET created_at = created_at - {day};"
        f"UPDATE billing_hold SET created_at = created_at - {day};"
        f"UPDATE billing_topup SET paid_at = paid_at - {day}"
    )
    forge(MIGRATION.FILL)  # with the times, the hashes
    assert proofs.prove().faults == []
    return Proof.objects.get()


def faults_since_last():
    return proofs.prove(is_since_last=True).faults


def test_a_proof_of_everything_is_kept_with_where_it_ended(alice, proven):
    last = LedgerEntry.objects.order_by("pk").last()
    assert (proven.after_entry, proven.last_entry, proven.entries_count) == (None, last.pk, 3)
    assert (proven.faults_count, proven.first_faults) == (0, [])


def test_a_proof_of_what_is_new_asks_about_that_alone(alice, bob, proven):
    ledger.settle(hold_id=open_hold(alice).pk, completion_tokens=5)
    fund(bob, CREDIT)
    report = proofs.prove(is_since_last=True)
    assert (report.faults, report.entries) == ([], 2)
    kept = Proof.objects.latest("pk")
    assert (kept.after_entry, kept.entries_count) == (proven.last_entry, 2)


@pytest.mark.parametrize(
    ("statement", "sentence"),
    [
        ("UPDATE billing_wallet SET balance_microcredits = balance_microcredits + 1", "its last entry says"),
        ("UPDATE billing_ledgerentry SET balance_after_microcredits = 1 WHERE id = {0}", "the one before it"),
        ("UPDATE billing_wallet SET held_microcredits = 5 WHERE balance_microcredits > 0", "active holds sum to"),
        ("DELETE FROM billing_grantuse WHERE entry_id = {0}", "its grant and uses sum to 0"),
        ("UPDATE billing_grant SET remaining_microcredits = 7", "its amount and uses leave"),
        ("UPDATE billing_grant SET remaining_microcredits = 7", "its grants have 7 left"),
        (
            "DELETE FROM billing_grantuse WHERE entry_id = {0}; DELETE FROM billing_ledgerentry WHERE id = {0}",
            "its usage entries sum to 0",
        ),
        (
            "UPDATE billing_hold SET state = 'released', charged_microcredits = NULL, completion_tokens = NULL"
            " WHERE created_at > now() - interval '1 hour'",
            "which is released",
        ),
        (
            "UPDATE billing_hold SET prompt_microcredits_per_token = 19, amount_microcredits = 4190,"
            " charged_microcredits = 390 WHERE created_at > now() - interval '1 hour'",
            "which was no price of it then",
        ),
        ("UPDATE billing_topup SET bonus_microcredits = 1", "credited"),
        ("UPDATE billing_promotioncode SET redemptions_count = 1", "1 redemptions counted, there are 0"),
    ],
)
def test_what_was_forged_since_is_found(alice, bob, staff, proven, statement, sentence):
    create_code(code="ONE", credits_microcredits=5, most_redemptions=1, by=staff)
    complete(order(bob))
    ledger.settle(hold_id=open_hold(alice).pk, completion_tokens=5)
    assert faults_since_last() == []
    forge("DELETE FROM billing_proof WHERE after_entry IS NOT NULL")
    entry = LedgerEntry.objects.filter(kind="usage").latest("pk")
    forge(statement.format(entry.pk))
    assert any(sentence in fault for fault in faults_since_last())


def test_what_was_forged_before_is_found_at_night(proven):
    forge("UPDATE billing_ledgerentry SET balance_after_microcredits = 1 WHERE kind = 'usage'")
    assert faults_since_last() == []
    assert any("balance after is 1" in fault for fault in proofs.prove().faults)


def test_a_fault_is_told_every_hour_until_it_is_mended(alice, bob, proven):
    fund(bob, CREDIT)
    forge("UPDATE billing_wallet SET balance_microcredits = balance_microcredits + 1 WHERE user_id = " + str(bob.pk))
    first = faults_since_last()
    assert first != []
    fund(alice, CREDIT, key="meanwhile")
    assert set(faults_since_last()) == set(first)
    kept = Proof.objects.latest("pk")
    assert (kept.after_entry, kept.faults_count, kept.first_faults) == (proven.last_entry, len(first), first)
    forge("UPDATE billing_wallet SET balance_microcredits = balance_microcredits - 1 WHERE user_id = " + str(bob.pk))
    assert faults_since_last() == []


def test_an_entry_that_was_under_way_is_asked_about_the_next_time(alice, proven, monkeypatch):
    monkeypatch.setattr(proofs, "SETTLING", timedelta(minutes=10))
    fund(alice, CREDIT, key="new")
    assert faults_since_last() == []
    kept = Proof.objects.latest("pk")
    assert (kept.entries_count, kept.last_entry) == (1, proven.last_entry)  # written a moment ago: asked about again


def test_without_a_proof_that_found_nothing_everything_is_asked_about(alice):
    fund(alice, CREDIT, key="new")
    report = proofs.prove(is_since_last=True)
    assert (report.entries, sum(report.accounts_microcredits.values())) == (2, 0)
    assert Proof.objects.get().after_entry is None


def test_a_proof_cannot_be_changed_or_taken_back_by_the_application(proven):
    for statement in ("UPDATE billing_proof SET last_entry = 10", "DELETE FROM billing_proof"):
        with pytest.raises(ProgrammingError, match="permission denied"), transaction.atomic():
            connection.cursor().execute(statement)


@pytest.mark.django_db(transaction=True)
def test_proofs_at_once_wait_for_each_other(alice):
    work = [lambda: proofs.prove().faults, faults_since_last]
    assert at_once(2, lambda n: work[n]()) == [[], []]
    first, second = Proof.objects.order_by("started_at")
    assert first.ended_at <= second.started_at


def test_the_command_proves_what_is_new(alice, proven, capsys):
    fund(alice, CREDIT, key="new")
    call_command("verify_ledger", since_last=True)
    assert "0 faults in 1 entries" in capsys.readouterr().out
    call_command("verify_ledger", since_last=True, json=True)
    assert json.loads(capsys.readouterr().out)["faults"] == []


@pytest.mark.parametrize("task", [tasks.verify_ledger, tasks.verify_what_is_new])
def test_proofs_have_a_queue_of_their_own_and_shout(bob, proven, caplog, task):
    assert task.queue == "proof"
    assert any(entry["task"] == task.name for entry in app.conf.beat_schedule.values())
    fund(bob, CREDIT)
    forge("UPDATE billing_wallet SET balance_microcredits = 7 WHERE user_id = " + str(bob.pk))
    task()
    assert any(record.levelname == "CRITICAL" and "ledger fault: wallet" in record.message for record in caplog.records)


CUT_OFF = """
DELETE FROM billing_grantuse WHERE entry_id = {0}; DELETE FROM billing_ledgerentry WHERE id = {0};
UPDATE billing_hold SET state = 'released', charged_microcredits = NULL, completion_tokens = NULL;
UPDATE billing_grant SET remaining_microcredits = amount_microcredits;
UPDATE billing_wallet w SET balance_microcredits = COALESCE((
    SELECT SUM(amount_microcredits) FROM billing_ledgerentry WHERE wallet_id = w.id), 0)"""
REWRITE = """
DO $$
DECLARE e billing_ledgerentry; previous bytea; BEGIN
    FOR e IN SELECT * FROM billing_ledgerentry WHERE wallet_id = {0} ORDER BY id LOOP
        previous := billing_entry_hash(previous, e);
        UPDATE billing_ledgerentry SET chain_hash = previous WHERE id = e.id;
    END LOOP;
END $$"""


@pytest.mark.parametrize(
    "change",
    [
        "reason = 'another'",
        "created_at = created_at + interval '1 microsecond'",
        "inputs_hash = repeat('0', 64)",
        "created_by_id = (SELECT MIN(id) FROM accounts_user)",
        "chain_hash = NULL",
    ],
)
def test_an_entry_that_was_written_anew_breaks_its_chain(alice, proven, faults, change):
    fund(alice, CREDIT, key="new")
    assert faults() == []
    forge(f"UPDATE billing_ledgerentry SET {change} WHERE idempotency_key = 'new'")
    assert [fault.partition(": ")[2] for fault in faults()] == ["its hash does not follow from the one before it"]
    assert [fault.partition(": ")[2] for fault in faults_since_last()] == [
        "its hash does not follow from the one before"
    ]


def test_an_entry_that_was_taken_out_breaks_the_chain(alice, proven, faults):
    fund(alice, CREDIT, key="between")
    ledger.settle(hold_id=open_hold(alice).pk, completion_tokens=5)
    entry = LedgerEntry.objects.get(idempotency_key="between")
    forge(
        f"DELETE FROM billing_grant WHERE entry_id = {entry.pk}; DELETE FROM billing_ledgerentry WHERE id = {entry.pk}"
    )
    assert any("its hash does not follow" in fault for fault in faults())


def test_the_last_entries_cut_off_with_all_in_order_are_seen_by_the_heads(proven, faults, capsys):
    call_command("verify_ledger", heads=proven.last_entry)
    assert capsys.readouterr().out.strip() == proven.heads_hash
    forge(CUT_OFF.format(LedgerEntry.objects.get(kind="usage").pk))
    assert faults() == []
    [fault] = proofs.prove().faults
    assert fault == f"proof {proven.pk}: the heads of the ledger up to entry {proven.last_entry} were others then"
    call_command("verify_ledger", heads=proven.last_entry)
    assert capsys.readouterr().out.strip() != proven.heads_hash  # which the log of that night says


def test_a_chain_that_was_written_anew_is_seen_by_the_heads(alice, proven, faults):
    forge("UPDATE billing_ledgerentry SET reason = 'another' WHERE kind = 'usage'")
    forge(REWRITE.format(alice.wallet.pk))
    assert faults() == []
    assert any("were others then" in fault for fault in proofs.prove().faults)


def test_what_comes_later_changes_no_earlier_heads(alice, bob, proven):
    fund(alice, CREDIT, key="later")
    fund(bob, CREDIT, key="later too")
    assert proofs.hash_heads(proven.last_entry) == proven.heads_hash
    assert proofs.prove().faults == []


def test_the_heads_leave_the_database_by_the_log(proven, caplog):
    caplog.set_level("INFO")
    tasks.verify_ledger()
    kept = Proof.objects.latest("pk")
    assert f"the heads of the ledger up to entry {kept.last_entry}: {kept.heads_hash}" in caplog.text
    assert len(kept.heads_hash) == 64


def test_the_migration_gives_the_entries_of_before_their_chains(alice, proven, faults):
    fund(alice, CREDIT, key="second")
    before = proofs.hash_heads(10**9)
    forge("UPDATE billing_ledgerentry SET chain_hash = NULL")
    assert any("its hash does not follow" in fault for fault in faults())
    forge(MIGRATION.FILL)
    assert (faults(), proofs.hash_heads(10**9)) == ([], before)


def test_whoever_inserts_an_entry_does_not_choose_its_hash(alice, proven, faults):
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO billing_ledgerentry (wallet_id, kind, amount_microcredits, balance_after_microcredits,"
            " idempotency_key, inputs_hash, reason, created_at, chain_hash)"
            " VALUES (%s, 'bonus', 5, 0, 'mine', '', '', now(), 'x') RETURNING id",
            [alice.wallet.pk],
        )
        entry = LedgerEntry.objects.get(pk=cursor.fetchone()[0])
    Grant.objects.create(wallet=alice.wallet, entry=entry, amount_microcredits=5, remaining_microcredits=5)
    assert faults() == []
