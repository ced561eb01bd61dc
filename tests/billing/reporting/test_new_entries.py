"""New entries are read exactly once as settled, also those that commit late; until then they are open."""

import threading

import pytest
from django.db import transaction

from billing.models import LedgerEntry
from billing.reporting.new_entries import Place, read_open, read_settled
from tests.billing.reporting.entries import credit, use
from tests.support.cast import at_once

pytestmark = [pytest.mark.usefixtures("ledger_alone"), pytest.mark.django_db(transaction=True)]


def settle(place, most=100):
    """Read as often as it needs while no transaction is running."""
    read = []
    for _ in range(10):
        found, place = read_settled(place, most)
        read += [entry.id for entry in found]
    assert read_open(place, 100) == []
    return read, place


def ids():
    return list(LedgerEntry.objects.order_by("pk").values_list("pk", flat=True))


@pytest.mark.parametrize("most", [1, 2, 100])
def test_each_is_read_once_in_its_order(alice, most):
    credit(alice, "first")
    read, place = settle(Place(), most)
    assert read == ids()
    again, same = settle(place, most)
    assert (again, same.settled, same.seen) == ([], place.settled, place.seen)
    credit(alice, "second")
    credit(alice, "third")
    more, _place = settle(place, most)
    assert read + more == ids()
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
def held_back(alice):
    """An entry whose transaction is running; call it to commit it."""
    inserted, may_commit = threading.Event(), threading.Event()

    def hold_back(_index):
        with transaction.atomic():
            credit(alice, "late")
            inserted.set()
            assert may_commit.wait(30)

    thread = threading.Thread(target=at_once, args=(1, hold_back))
    thread.start()
    assert inserted.wait(30)

    def commit():
        may_commit.set()
        thread.join()

    yield commit
    commit()


def test_an_entry_that_commits_late_is_read(charlie, held_back):
    """Its id is smaller than that of an entry that was seen before it."""
    before, place = settle(Place())
    early = credit(charlie, "early")
    for _ in range(3):
        found, place = read_settled(place, 100)
        assert found == []
        assert [entry.id for entry in read_open(place, 100)] == [early.pk]
    held_back()
    read, _place = settle(place)
    assert before + read == ids()
    assert read.index(early.pk) == 1


def test_a_database_that_was_restored_elsewhere_counts_on(alice):
    """Its numbers of transactions begin anew, and would be small for years."""
    read, place = settle(Place())
    last = credit(alice, "after the restore")
    more, _place = settle(Place(place.settled, place.seen, place.transaction + 10**12))
    assert more == [last.pk]
    assert read + more == ids()
