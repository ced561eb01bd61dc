"""What a key may still spend this month."""

from datetime import timedelta

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from accounts.api_keys import create_key
from billing import ledger
from billing.ledger import key_caps
from billing.ledger.key_caps import key_cap_room_microcredits
from billing.models import Hold, KeySpending, LedgerEntry
from tests.billing.holds import open_hold
from tests.billing.ledger.attacks import refused
from tests.support.cast import CREDIT
from tests.support.databases.owner import as_owner

pytestmark = pytest.mark.usefixtures("each_way")


def make_key(user, **options):
    return create_key(user=user, name="test", scopes=["chat"], **options)[0]


def hold_with(key, user):
    """A hold that was made with this key."""
    template = open_hold(user)
    fields = {field.attname: getattr(template, field.attname) for field in Hold._meta.concrete_fields}
    made = Hold(**fields | {"id": None, "reference": f"{template.reference}+key", "api_key_id": key.pk})
    made.id = Hold._meta.pk.get_default()
    made.save(force_insert=True)
    return made


def test_without_a_key_or_a_cap_nothing_is_asked(alice, django_assert_num_queries):
    key = make_key(alice)
    with django_assert_num_queries(0):
        assert key_cap_room_microcredits(None, alice.wallet) is None
        assert key_cap_room_microcredits(key, alice.wallet) is None


def test_room_is_the_cap_without_what_is_held_and_charged(alice, staff, django_assert_num_queries):
    key = make_key(alice, monthly_cap_microcredits=CREDIT)
    assert key_cap_room_microcredits(key, alice.wallet) == CREDIT
    hold = hold_with(key, alice)
    with django_assert_num_queries(3):
        assert key_cap_room_microcredits(key, alice.wallet) == CREDIT - hold.amount_microcredits
    charged = ledger.settle(hold_id=hold.pk, completion_tokens=3).charged_microcredits
    assert key_cap_room_microcredits(key, alice.wallet) == CREDIT - charged
    ledger.refund(hold_id=hold.pk, amount_microcredits=20, idempotency_key="r", reason="bad", by=staff)
    assert key_cap_room_microcredits(key, alice.wallet) == CREDIT - charged + 20
    ledger.release(hold_id=hold_with(key, alice).pk)
    assert key_cap_room_microcredits(key, alice.wallet) == CREDIT - charged + 20


def test_a_new_month_begins_with_the_whole_cap(alice, monkeypatch):
    key = make_key(alice, monthly_cap_microcredits=CREDIT)
    ledger.settle(hold_id=hold_with(key, alice).pk, completion_tokens=3)
    still_running = hold_with(key, alice)
    later = timezone.now() + timedelta(days=32)
    monkeypatch.setattr("core.days.timezone.now", lambda: later)
    assert key_cap_room_microcredits(key, alice.wallet) == CREDIT - still_running.amount_microcredits


def test_the_count_is_kept_so_that_a_busy_month_makes_no_hold_slower(alice, staff, monkeypatch):
    monkeypatch.setattr(key_caps, "COUNT_ANEW_ENTRIES", 3)
    key, other = (make_key(alice, monthly_cap_microcredits=CREDIT) for _ in range(2))
    spent, holds = 0, []
    for number in range(8):
        holds.append(hold_with(key, alice))
        spent += ledger.settle(hold_id=holds[-1].pk, completion_tokens=number).charged_microcredits
        ledger.settle(hold_id=hold_with(other, alice).pk, completion_tokens=1)
        assert key_cap_room_microcredits(key, alice.wallet) == CREDIT - spent
    counted = KeySpending.objects.get(api_key=key)
    assert LedgerEntry.objects.filter(wallet=alice.wallet, pk__gt=counted.counted_entry_id).count() < 3
    ledger.refund(hold_id=holds[0].pk, amount_microcredits=20, idempotency_key="r", reason="bad", by=staff)
    assert key_cap_room_microcredits(key, alice.wallet) == CREDIT - spent + 20
    later = timezone.now() + timedelta(days=32)
    monkeypatch.setattr("core.days.timezone.now", lambda: later)
    assert key_cap_room_microcredits(key, alice.wallet) == CREDIT


def test_another_key_and_other_holds_do_not_count(alice):
    key, other = (make_key(alice, monthly_cap_microcredits=CREDIT) for _ in range(2))
    hold_with(other, alice)
    open_hold(alice)
    assert key_cap_room_microcredits(key, alice.wallet) == CREDIT


def test_a_cap_that_was_lowered_below_what_was_spent_leaves_nothing(alice):
    key = make_key(alice, monthly_cap_microcredits=CREDIT)
    hold_with(key, alice)
    key.monthly_cap_microcredits = 1
    assert key_cap_room_microcredits(key, alice.wallet) == 0


def test_the_database_refuses_a_hold_with_somebody_elses_key(alice, charlie):
    key = make_key(charlie)
    with pytest.raises(IntegrityError, match="its own customer"), transaction.atomic():
        hold_with(key, alice)


def test_the_database_refuses_to_change_the_key_of_a_hold(alice):
    hold = hold_with(make_key(alice), alice)
    for change in (make_key(alice).pk, None):
        refused(lambda change=change: Hold.objects.filter(pk=hold.pk).update(api_key=change))
        with pytest.raises(IntegrityError, match="never changed"), transaction.atomic():
            as_owner("UPDATE billing_hold SET api_key_id = {} WHERE id = {}", change, hold.pk)
