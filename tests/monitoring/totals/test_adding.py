"""The totals count each answer and each entry once, agree with the ledger, and nobody waits for them."""

import threading
from datetime import timedelta
from unittest import mock

import pytest
from django.db import OperationalError, connection, transaction
from django.utils import timezone

from billing.models import EntryKind, LedgerEntry, Wallet
from inference.generations.endings import fail_generation, settle_generation, stop_generation
from inference.models import Generation
from monitoring.models import Total, TotalsMark
from monitoring.totals import adding
from monitoring.totals.metrics import (
    ANSWERS,
    CREDITS,
    ENTRIES,
    FIRST_TOKEN,
    OUTPUT_TOKEN,
    QUEUE_WAIT,
    REQUEST_DURATION,
    TOKEN_USAGE,
)
from tests.billing.reporting.entries import credit
from tests.inference.asking import ask
from tests.support.cast import answered_talk, at_once, begin
from tests.support.databases.owner import connect


def read():
    return adding.read_totals().series


def amount(metric, *labels):
    found = read().get((metric.name, labels))
    return 0 if found is None else found.amount


def total(metric, *labels):
    return read()[metric.name, labels].total / metric.parts_of_one


def owned():
    moved = {key: series.amount for key, series in read().items() if key[0] == CREDITS.name}
    return sum(value if labels[1] == "in" else -value for (_name, labels), value in moved.items())


def test_they_agree_with_the_ledger(alice, bob, charlie, catalogue, without_answers):
    answered_talk(alice, catalogue)
    answered_talk(charlie, catalogue)
    assert owned() == sum(wallet.balance_microcredits for wallet in Wallet.objects.all()) > 0
    assert amount(ENTRIES, "usage") == LedgerEntry.objects.filter(kind=EntryKind.USAGE).count() == 2
    assert amount(ANSWERS, catalogue.key, "completed") == 2
    assert (total(TOKEN_USAGE, catalogue.key, "input"), total(TOKEN_USAGE, catalogue.key, "output")) == (40, 6)


@pytest.mark.django_db(transaction=True)
def test_nothing_is_counted_twice_when_it_is_settled(alice, catalogue):
    answered_talk(alice, catalogue)
    before = read()
    assert Total.objects.count() == 0
    for _ in range(3):
        assert not adding.add_up()
        assert read() == before
    assert Total.objects.count() > 5
    answered_talk(alice, catalogue)
    assert amount(ANSWERS, catalogue.key, "completed") == 2


def test_an_answers_times_are_those_of_its_row(alice, catalogue):
    generation = ask(alice, catalogue)
    begin(generation)
    settle_generation(
        generation_id=generation.pk, text="Hi", completion_tokens=5, finish_reason="stop", token_times=(0.2, 1.0)
    )
    generation.refresh_from_db()
    begun = (generation.started_at - generation.created_at).total_seconds()
    assert total(QUEUE_WAIT, catalogue.key) == pytest.approx(begun)
    assert total(FIRST_TOKEN, catalogue.key) == pytest.approx(begun + 0.2)
    assert total(OUTPUT_TOKEN, catalogue.key) == pytest.approx(0.2)  # four tokens after the first, in 0.8 s
    assert read()[OUTPUT_TOKEN.name, (catalogue.key,)].buckets[6] == 1  # over 0.15, and 0.2 or less
    duration = (generation.ended_at - generation.created_at).total_seconds()
    assert total(REQUEST_DURATION, catalogue.key, "") == pytest.approx(duration)


def test_an_answer_without_a_charge_is_counted_at_once_and_once(alice, catalogue):
    failed, stopped = ask(alice, catalogue), ask(alice, catalogue, text="another")
    fail_generation(generation_id=failed.pk, error="test")
    stop_generation(generation=stopped)
    for later in (timedelta(0), timedelta(minutes=5), timedelta(hours=1), timedelta(hours=2)):
        with mock.patch("django.utils.timezone.now", return_value=timezone.now() + later):
            assert amount(ANSWERS, catalogue.key, "failed") == 1
            assert amount(ANSWERS, catalogue.key, "cancelled") == 1
            assert amount(REQUEST_DURATION, catalogue.key, "failed") == 1
    assert TotalsMark.objects.get().uncharged_until > timezone.now()  # so the later ones were read from the totals


def test_the_failed_are_found_by_an_index(alice, catalogue):
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute(f"EXPLAIN {adding.UNCHARGED}", [[1.0], timezone.now(), timezone.now()])
        assert "inference_unpaid" in "\n".join(row[0] for row in cursor.fetchall())


@pytest.mark.django_db(transaction=True)
def test_an_entry_that_commits_late_is_counted(alice, charlie, ledger_alone):
    """Its id is smaller than those of entries that were counted before."""
    before = amount(ENTRIES, "promotion")
    inserted, may_commit = threading.Event(), threading.Event()

    def hold_back(_index):
        with transaction.atomic():
            credit(alice, "late")
            inserted.set()
            assert may_commit.wait(30)

    late = threading.Thread(target=at_once, args=(1, hold_back))
    late.start()
    try:
        assert inserted.wait(30)
        credit(charlie, "early")
        for _ in range(3):
            assert amount(ENTRIES, "promotion") == before + 1
    finally:
        may_commit.set()
        late.join()
    assert amount(ENTRIES, "promotion") == before + 2
    assert owned() == sum(wallet.balance_microcredits for wallet in Wallet.objects.all())


@pytest.mark.django_db(transaction=True)
def test_while_the_past_is_added_up_nothing_is_told(alice, catalogue, monkeypatch, ledger_alone):
    for number in range(5):
        credit(alice, str(number))
    monkeypatch.setattr(adding, "MOST_ENTRIES", 2)
    monkeypatch.setattr(adding, "MOST_OPEN", 3)
    assert adding.read_totals() is None  # it has just begun, and too many are open
    assert adding.read_totals() is None  # the first two are added
    assert adding.add_up()
    while adding.add_up():
        pass
    assert amount(ENTRIES, "promotion") == 5


@pytest.mark.django_db(transaction=True)
def test_many_who_read_at_once_agree(alice, catalogue):
    answered_talk(alice, catalogue)
    answers = at_once(6, lambda _index: read())
    assert all(answer == answers[0] for answer in answers)
    assert answers[0][ANSWERS.name, (catalogue.key, "completed")].amount == 1


@pytest.mark.django_db(transaction=True)
def test_nobody_waits_for_them_while_their_tables_are_locked(alice, catalogue):
    generation = ask(alice, catalogue)
    begin(generation)
    with connect() as owner:
        owner.execute("LOCK TABLE monitoring_total, monitoring_totalsmark IN ACCESS EXCLUSIVE MODE")
        settle_generation(generation_id=generation.pk, text="Hi", completion_tokens=3, finish_reason="stop")
        assert Generation.objects.get().state == "completed"
        with pytest.raises(OperationalError, match="lock timeout"):
            adding.read_totals()
    assert amount(ANSWERS, catalogue.key, "completed") == 1


@pytest.mark.django_db(transaction=True)
def test_a_sum_never_falls_in_whatever_order_it_is_added(alice, catalogue):
    """0.1 + (0.2 + 0.3) is more than (0.1 + 0.2) + 0.3, and a sum that falls is a restart to Prometheus."""
    for seconds in (0.1, 0.2, 0.3):
        generation = ask(alice, catalogue, text=f"for {seconds}")
        begin(generation)
        times = {"token_times": (0.0, seconds)}
        settle_generation(generation_id=generation.pk, text="Hi", completion_tokens=2, finish_reason="stop", **times)
        read()
    totals = [total(OUTPUT_TOKEN, catalogue.key) for _ in range(4)]
    assert totals == [0.6] * 4
