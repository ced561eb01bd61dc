"""The days of the ledger: any ledger reconciles, in any time zone, summed or not, and no entry is lost at midnight."""

from datetime import UTC, date, datetime, timedelta
from unittest import mock
from zoneinfo import ZoneInfo

import pytest
from django.core.management import call_command
from django.db import transaction
from django.utils import timezone
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from billing import ledger, tasks
from billing.ledger.verification import proofs
from billing.models import EntryKind, LedgerDay, LedgerDaysMark, LedgerEntry, Package
from billing.reporting import ledger_days
from billing.reporting.ledger_days import SummedMeanwhile, read_ledger, sum_new_days
from billing.reporting.revenue import (
    PACKAGES,
    WAYS,
    bounds_of_packages,
    owed_minor,
    read_packages,
    read_paid_back,
    sum_ways,
)
from billing.topups.packages import seed_packages
from core import sql
from core.days import begin_of_report_day, report_day_of
from tests.billing.holds import charge_from_cache, open_hold
from tests.billing.orders import complete, disputed, order, refunded
from tests.billing.reporting.entries import credit, insert_entries
from tests.support.cast import CREDIT
from tests.support.databases.owner import as_owner

BERLIN = "Europe/Berlin"
SPRING, AUTUMN = date(2026, 3, 29), date(2026, 10, 25)  # days of 23 and of 25 hours in Berlin


def at(moment):
    return mock.patch("django.utils.timezone.now", return_value=moment)


def answer(user, moment, completion_tokens=10):
    with at(moment):
        return ledger.settle(hold_id=open_hold(user).pk, completion_tokens=completion_tokens)


@pytest.fixture
def nothing_under_way(monkeypatch):
    """Every entry that is there may be summed."""
    monkeypatch.setattr(proofs, "SETTLING", timedelta(0))


OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(["sell", "bonus", "promotion", "up", "down", "answer", "cached", "refund", "sum"]),
        st.sampled_from([SPRING, AUTUMN]),
        st.integers(-50, 50),  # hours from that day's beginning
        st.integers(1, 3 * CREDIT),
    ),
    max_size=14,
)
KINDS = {"sell": EntryKind.TOP_UP, "bonus": EntryKind.BONUS, "promotion": EntryKind.PROMOTION}


def do(users, staff, number, operation, moment, amount):
    """One operation of one of the users; a refusal is as good as any."""
    user, key = users[number % len(users)], f"any:{number}"
    if operation == "sum":
        sum_new_days()
        return
    with at(moment):
        try:
            if operation in KINDS:
                ledger.grant(
                    user=user, kind=KINDS[operation], amount_microcredits=amount, idempotency_key=key, reason="any"
                )
            elif operation in ("up", "down"):
                change = amount if operation == "up" else -amount
                ledger.adjust(user=user, amount_microcredits=change, idempotency_key=key, reason="any", by=staff)
            elif operation == "answer":
                ledger.settle(hold_id=open_hold(user, reference=key).pk, completion_tokens=amount % 100)
            elif operation == "cached":
                charge_from_cache(user, reference=key)
            else:
                hold = LedgerEntry.objects.filter(kind="usage").latest("pk").hold_id
                ledger.refund(
                    hold_id=hold, amount_microcredits=amount % 500 + 1, idempotency_key=key, reason="any", by=staff
                )
        except (ledger.LedgerError, LedgerEntry.DoesNotExist):
            pass


@pytest.mark.parametrize("zone", ["UTC", BERLIN, "Asia/Kathmandu", "America/Los_Angeles"])
def test_any_ledger_reconciles_in_any_zone_summed_or_not(alice, bob, staff, settings, nothing_under_way, zone):
    settings.REPORTING_TIME_ZONE = zone

    @hypothesis_settings(max_examples=25, suppress_health_check=list(HealthCheck))
    @given(operations=OPERATIONS, first=st.sampled_from([SPRING, AUTUMN]), days=st.integers(0, 3))
    def check(operations, first, days):
        with transaction.atomic():
            for number, (operation, day, hours, amount) in enumerate(operations):
                moment = datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(hours=hours)
                do((alice, bob), staff, number, operation, moment, amount)
            last = first + timedelta(days=days)
            read = read_ledger(first, last)
            entries = list(LedgerEntry.objects.values_list("created_at", "amount_microcredits", "kind"))
            of_day = [(moment.astimezone(ZoneInfo(zone)).date(), amount, kind) for moment, amount, kind in entries]
            inside = [(amount, kind) for day, amount, kind in of_day if first <= day <= last]
            assert read.opening_microcredits == sum(amount for day, amount, _kind in of_day if day < first)
            assert read.moved_microcredits == sum(amount for amount, _kind in inside)
            assert read.entries == len(inside)
            assert read.closing_microcredits == sum(amount for day, amount, _kind in of_day if day <= last)
            assert read.difference_microcredits == 0
            ways = sum_ways(read)
            assert sum(way.amount_microcredits for way in ways.values()) == read.moved_microcredits
            assert sum(way.entries for way in ways.values()) == read.entries
            used = ledger_days.usage_of(read)
            assert sum(day.priced_microcredits for day in used) == -sum(day.amount_microcredits for day in used)
            transaction.set_rollback(True)

    check()


@pytest.mark.parametrize(("day", "hours"), [(SPRING, 23), (AUTUMN, 25), (date(2026, 6, 1), 24)])
def test_a_day_is_as_long_as_its_clocks_say(alice, settings, day, hours):
    settings.REPORTING_TIME_ZONE = BERLIN
    begin, end = begin_of_report_day(day), begin_of_report_day(day + timedelta(days=1))
    assert end - begin == timedelta(hours=hours)
    microsecond = timedelta(microseconds=1)
    for number, moment in enumerate((begin - microsecond, begin, end - microsecond, end)):
        credit(alice, f"at {number}", at=moment)
    assert read_ledger(day, day).entries == 2
    assert [report_day_of(moment) for moment in (begin, end - microsecond, end)] == [day, day, day + timedelta(days=1)]


def test_a_day_that_has_no_midnight_begins_at_the_first_moment_of_it(alice, settings):
    settings.REPORTING_TIME_ZONE = "Asia/Beirut"  # on 29 March 2026 the clocks go from 0:00 to 1:00
    begin = begin_of_report_day(SPRING)
    assert begin == datetime(2026, 3, 28, 22, tzinfo=UTC)
    credit(alice, "before", at=begin - timedelta(microseconds=1))
    credit(alice, "first", at=begin)
    assert read_ledger(SPRING, SPRING).entries == 1


def test_what_is_summed_and_what_came_since_is_counted_once(alice, nothing_under_way, django_assert_num_queries):
    for _ in range(3):
        answer(alice, datetime(2026, 3, 10, 12, tzinfo=UTC))
    tasks.sum_usage()
    assert LedgerDay.objects.get(kind="usage").entries_count == 3
    answer(alice, datetime(2026, 3, 10, 13, tzinfo=UTC))
    with django_assert_num_queries(2):
        read = read_ledger(date(2026, 3, 10), date(2026, 3, 10))
    [used] = ledger_days.usage_of(read)
    assert (used.entries, used.prompt_tokens, used.completion_tokens) == (4, 40, 40)
    assert used.amount_microcredits == -4 * (10 * 20 + 10 * 40)


def test_many_entries_are_summed_in_turns_and_young_ones_wait(alice, nothing_under_way, monkeypatch):
    monkeypatch.setattr(ledger_days, "MOST_ENTRIES", 2)
    for _ in range(5):
        answer(alice, datetime(2026, 3, 10, 12, tzinfo=UTC))
    assert sum_new_days()
    tasks.sum_usage()
    assert LedgerDay.objects.get(kind="usage").entries_count == 5
    monkeypatch.setattr(proofs, "SETTLING", timedelta(minutes=10))
    answer(alice, timezone.now())
    assert not sum_new_days()


def test_another_time_zone_has_other_days_at_once_and_is_summed_anew(alice, settings, nothing_under_way):
    late = datetime(2026, 6, 1, 23, 30, tzinfo=UTC)  # in Berlin it is 2 June
    answer(alice, late)
    tasks.sum_usage()
    settings.REPORTING_TIME_ZONE = BERLIN
    assert [day.day for day in ledger_days.usage_of(read_ledger(date(2026, 6, 1), date(2026, 6, 3)))] == [
        date(2026, 6, 2)
    ]
    tasks.sum_usage()
    assert LedgerDaysMark.objects.get().time_zone == BERLIN
    assert LedgerDay.objects.get(kind="usage").day == date(2026, 6, 2)
    assert read_ledger(date(2026, 6, 2), date(2026, 6, 2)).difference_microcredits == 0


def faults_of_days():
    return [fault for fault in proofs.prove().faults if fault.startswith("day ")]


def test_a_wrong_sum_does_not_reconcile_is_named_by_the_proof_and_summing_again_mends_it(alice, nothing_under_way):
    answer(alice, datetime(2026, 3, 10, 12, tzinfo=UTC))
    tasks.sum_usage()
    LedgerDay.objects.filter(kind="usage").update(amount_microcredits=-1)
    assert read_ledger(date(2026, 3, 10), date(2026, 3, 10)).difference_microcredits == 599
    [fault] = faults_of_days()
    assert fault == "day 2026-03-10 of the reports: 1 entries of usage summed for -1, there are 1 for -600"
    call_command("sum_usage", "--again")
    assert faults_of_days() == []


def test_a_balance_that_moved_without_an_entry_does_not_reconcile(alice):
    as_owner("SET session_replication_role = replica")  # without the walls
    as_owner("UPDATE billing_wallet SET balance_microcredits = balance_microcredits + 7")
    as_owner("SET session_replication_role = DEFAULT")
    assert read_ledger(date(2026, 3, 10), date(2026, 3, 10)).difference_microcredits == -7


def test_days_that_are_summed_while_they_are_read_are_read_again(alice, nothing_under_way, monkeypatch):
    answer(alice, datetime(2026, 3, 10, 12, tzinfo=UTC))
    values_of, tries = ledger_days._values, []

    def summed_meanwhile(first, last, mark):
        if not tries:
            sum_new_days()
        tries.append(mark)
        return values_of(first, last, mark)

    monkeypatch.setattr(ledger_days, "_values", summed_meanwhile)
    assert read_ledger(date(2026, 3, 10), date(2026, 3, 10)).entries == 1
    assert len(tries) == 2
    monkeypatch.setattr(ledger_days, "MOST_TRIES", 1)
    tries.clear()
    answer(alice, datetime(2026, 3, 10, 12, tzinfo=UTC))
    with pytest.raises(SummedMeanwhile):
        read_ledger(date(2026, 3, 10), date(2026, 3, 10))


def test_every_way_of_credits_is_told_apart(alice, bob, staff):
    """One entry of each, and each where it belongs."""
    complete(order(bob, 500, bonus=20 * CREDIT))
    kept = order(bob, 300)
    complete(kept)
    credit(bob, "a code", EntryKind.PROMOTION)
    credit(bob, "signed up", EntryKind.BONUS)
    hold = ledger.settle(hold_id=open_hold(bob).pk, completion_tokens=3)
    ledger.refund(hold_id=hold.pk, amount_microcredits=1, idempotency_key="r", reason="sorry", by=staff)
    for change in (5, -2):
        ledger.adjust(user=bob, amount_microcredits=change, idempotency_key=f"{change}", reason="agreed", by=staff)
    refunded(kept, 100)
    refunded(kept, 50)
    disputed(kept, 100)
    disputed(kept, 0)
    today = report_day_of(timezone.now())
    ways = {
        key: (moved.entries, moved.amount_microcredits) for key, moved in sum_ways(read_ledger(today, today)).items()
    }
    assert ways == {
        "sold": (2, 800 * CREDIT),
        "package_bonus": (1, 20 * CREDIT),
        "signup_bonus": (2, 101 * CREDIT),  # and what alice was funded with
        "promotion": (1, CREDIT),
        "spent": (1, -320),
        "answers_refunded": (1, 1),
        "adjusted_up": (1, 5),
        "adjusted_down": (1, -2),
        "payments_refunded": (1, -100 * CREDIT),
        "refunds_failed": (1, 50 * CREDIT),
        "disputed": (1, -100 * CREDIT),
        "disputes_won": (1, 100 * CREDIT),
        "debts_paid": (0, 0),
        "expired": (0, 0),
    }
    assert list(ways) == [way.key for way in WAYS]


def test_debts_and_expiry_are_ways_too(bob):
    paid = order(bob, 500)
    complete(paid)
    hold = ledger.settle(hold_id=open_hold(bob, 10, 10_000_000).pk, completion_tokens=10_000_000)
    disputed(paid, 500)
    credit(bob, "pays the debt", EntryKind.PROMOTION, 1000 * CREDIT)
    ledger.grant(
        user=bob,
        kind=EntryKind.BONUS,
        amount_microcredits=7,
        idempotency_key="expires",
        reason="short",
        expires_at=timezone.now() - timedelta(days=1),
    )
    ledger.expire_grants()
    today = report_day_of(timezone.now())
    read = read_ledger(today, today)
    ways = sum_ways(read)
    assert hold.charged_microcredits == 200 + 400 * CREDIT
    assert ways["disputed"].amount_microcredits == -(100 * CREDIT - 200)
    assert ways["debts_paid"].amount_microcredits == -(400 * CREDIT + 200)
    assert ways["expired"].amount_microcredits == -7
    assert read.difference_microcredits == 0


def test_packages_are_sold_on_the_day_of_their_entry(bob):
    seed_packages()
    midnight = datetime(2026, 3, 10, tzinfo=UTC)
    package_order = order(bob, 2000, bonus=5)
    package = Package.objects.order_by("position").last()
    type(package_order).objects.filter(pk=package_order.pk).update(package=package)
    package_order.refresh_from_db()
    with at(midnight):
        complete(package_order)
    with at(midnight - timedelta(microseconds=1)):
        complete(order(bob, 500))
    [sold] = read_packages(midnight, midnight + timedelta(days=1))
    assert (sold.name, sold.payments, sold.amount_minor, sold.credits_microcredits) == (
        package.name,
        1,
        2000,
        2000 * CREDIT,
    )
    assert sold.bonus_microcredits == 5
    assert (
        sold.credits_microcredits == sum_ways(read_ledger(midnight.date(), midnight.date()))["sold"].amount_microcredits
    )
    [before] = read_packages(midnight - timedelta(days=1), midnight)
    assert (before.name, before.amount_minor) == ("", 500)
    assert read_paid_back(midnight, midnight + timedelta(days=1)) == []


@pytest.mark.parametrize(("microcredits", "minor"), [(0, 0), (1, 1), (CREDIT, 1), (CREDIT + 1, 2), (-1, 0)])
def test_what_is_owed_is_rounded_up(settings, microcredits, minor):
    settings.CREDITS_PER_MINOR_UNIT = 1
    assert owed_minor(microcredits) == minor


def test_only_what_is_new_is_read_of_the_entries(alice, nothing_under_way):
    """Of many entries, in the plans that PostgreSQL makes."""
    insert_entries(alice, 20_000)
    while sum_new_days():
        pass
    as_owner("ANALYZE")
    today = report_day_of(timezone.now())
    [[mark]] = sql.fetch_all(ledger_days.MARK, {"zone": "UTC"})
    begin, end = begin_of_report_day(today), begin_of_report_day(today + timedelta(days=1))
    plans = [
        *sql.fetch_all(f"EXPLAIN {ledger_days.READ}", ledger_days._values(today, today, mark)),
        *sql.fetch_all(f"EXPLAIN {PACKAGES}", bounds_of_packages(begin, end)),
    ]
    assert mark >= 20_000
    assert not [line for [line] in plans if "Seq Scan on billing_ledgerentry" in line]
