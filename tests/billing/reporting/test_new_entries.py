"""New entries are read exactly once as settled, also those that commit late; until then they are open."""

import threading

import pytest
from django.db import transaction

from billing.models import LedgerEntry, Wallet
from billing.reporting.new_entries import Place, read_last, read_open, read_settled
from tests.billing.reporting.entries import credit, insert_entries, use
from tests.support.cast import at_once
from tests.support.stack import wait_until

pytestmark = [pytest.mark.usefixtures("ledger_alone"), pytest.mark.django_db(transaction=True)]


def read(place, most=100):
    """Read what is settled, as a transaction of its own."""
    with transaction.atomic():
        last = read_last()
        found, place = read_settled(place, last, most)
    return [entry.id for entry in found], place


def settle(place, most=100):
    """Read until everything is settled, also while transactions of other databases are running."""
    all_read = []

    def is_settled():
        nonlocal place
        found, place = read(place, most)
        all_read.extend(found)
        return read_open(place, 100) == []

    wait_until(is_settled, 30, "the end of all transactions that were running")
    return all_read, place


def ids():
    return list(LedgerEntry.objects.order_by("pk").values_list("pk", flat=True))


@pytest.mark.parametrize("most", [1, 2, 100])
def test_each_is_read_once_in_its_order(alice, most):
    credit(alice, "first")
    first, place = settle(Place(), most)
    assert first == ids()
    again, same = settle(place, most)
    assert (again, same.settled, same.seen) == ([], place.settled, place.seen)
    credit(alice, "second")
    credit(alice, "third")
    more, _place = settle(place, most)
    assert first + more == ids()
    assert len(more) == 2


def test_usage_tells_of_its_answer(alice):
    _read, place = settle(Place())
    spent = use(alice)
    [entry] = read_open(place, 100)
    assert (entry.kind, entry.amount_microcredits) == ("usage", spent.amount_microcredits)
    assert (entry.model_key, entry.completion_tokens) == (spent.hold.model_key, 3)
    assert (entry.prompt_tokens, entry.is_from_cache) == (spent.hold.prompt_tokens, False)
    assert entry.state is None  # no answer belongs to it


@pytest.fixture
def hold_back(alice):
    """Call it for an entry whose transaction stays running. What it returns commits that."""
    inserted, may_commit = threading.Event(), threading.Event()

    def insert(_index):
        with transaction.atomic():
            credit(alice, "late")
            inserted.set()
            assert may_commit.wait(30)

    thread = threading.Thread(target=at_once, args=(1, insert))

    def begin():
        thread.start()
        assert inserted.wait(30)
        return commit

    def commit():
        may_commit.set()
        thread.join()

    yield begin
    commit()


def test_an_entry_that_commits_late_is_read(charlie, hold_back):
    """Its id is smaller than that of an entry that was seen before it."""
    before, place = settle(Place())
    commit_late = hold_back()
    early = credit(charlie, "early")
    for _ in range(3):
        found, place = read(place)
        assert found == []
        assert [entry.id for entry in read_open(place, 100)] == [early.pk]
    commit_late()
    after, _place = settle(place)
    assert before + after == ids()
    assert after.index(early.pk) == 1


def test_an_entry_of_a_younger_transaction_that_commits_late_is_read(charlie, hold_back):
    """All transactions that have ended are older than its own, which a snapshot takes for one that did not begin."""
    _before, place = settle(Place())
    with transaction.atomic():
        Wallet.objects.select_for_update().get(user=charlie)
        commit_late = hold_back()
        insert_entries(charlie, 1)  # the ledger's own way begins one more transaction, a savepoint
    found, place = read(place)
    assert found == []
    found, place = read(place)
    assert found == []
    commit_late()
    after, _place = settle(place)
    assert after == ids()[-2:]


def test_who_read_earlier_than_somebody_else_does_not_go_back(alice, charlie):
    """Two add up at once: the second has seen less when the first is done."""
    _before, place = settle(Place())
    with transaction.atomic():
        stale = read_last()
    credit(alice, "first")
    credit(charlie, "second")
    after, place = settle(place)
    assert len(after) == 2
    for _ in range(2):
        found, place = read_settled(place, stale, 100)
        assert found == []
    assert read(place)[0] == []


def test_a_database_that_was_restored_elsewhere_counts_on(alice):
    """Its numbers of transactions begin anew, and would be small for years."""
    first, place = settle(Place())
    last = credit(alice, "after the restore")
    more, _place = settle(Place(place.settled, place.seen, place.transaction + 10**12))
    assert more == [last.pk]
    assert first + more == ids()
