"""What waits for a second person lapses after seven days: nothing moves, and it can be asked for again."""

from datetime import timedelta

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from accounts.models import AuditEvent
from billing import adjustments
from billing.adjustments import AdjustmentRefused
from billing.models import Adjustment, Grant, Refund
from billing.refunds import requests
from billing.refunds.requests import RefundRefused
from billing.tasks import lapse_requests
from tests.billing.grants import spend
from tests.billing.ledger.verification.forging import forge
from tests.billing.refunds.adjusting import adjust
from tests.billing.refunds.refunding import ask
from tests.support.cast import CREDIT, UserFactory, at_once

pytestmark = pytest.mark.usefixtures("without_answers")


@pytest.fixture
def boss(catalogue):
    return UserFactory.create(email="boss@example.com", is_staff=True, is_superuser=True)


@pytest.fixture
def asking(catalogue):
    """Somebody of the staff who may only ask."""
    return UserFactory.create(email="asking@example.com", is_staff=True)


def age(row, **ago):
    type(row).objects.filter(pk=row.pk).update(requested_at=timezone.now() - timedelta(**ago))


def test_a_refund_lapses_and_frees_what_it_asked_for(alice, asking, boss, faults):
    hold = spend(alice, 10)
    waiting = ask(asking, hold.charged_microcredits, hold=hold)
    age(waiting, days=6, hours=23)
    lapse_requests()
    waiting.refresh_from_db()
    assert waiting.state == "waiting"
    with pytest.raises(RefundRefused, match="At most"):
        ask(boss, 1, hold=hold)
    age(waiting, days=7)
    with pytest.raises(RefundRefused, match="lapsed"):
        requests.decide_refund(refund=waiting, by=boss, is_approved=True)
    lapse_requests()
    waiting.refresh_from_db()
    assert (waiting.state, waiting.decided_by) == ("lapsed", None)
    event = AuditEvent.objects.get(action="refund lapsed")
    assert (event.actor, event.subject) == (asking, alice)
    with pytest.raises(RefundRefused, match="decided already"):
        requests.decide_refund(refund=waiting, by=boss, is_approved=True)
    assert ask(boss, hold.charged_microcredits, hold=hold).state == "done"
    assert faults() == []


def test_a_new_request_finds_the_old_one_lapsed_even_if_no_task_ran(alice, asking, boss, faults):
    hold = spend(alice, 10)
    waiting = ask(asking, hold.charged_microcredits, hold=hold)
    age(waiting, days=8)
    assert ask(boss, hold.charged_microcredits, hold=hold).state == "done"
    assert Refund.objects.get(pk=waiting.pk).state == "lapsed"
    assert faults() == []


@pytest.mark.django_db(transaction=True)
def test_deciding_and_lapsing_at_once_is_one_of_them(alice, boss, asking, faults):
    hold = spend(alice, 10)
    waiting = ask(asking, hold.charged_microcredits, hold=hold)
    age(waiting, days=6, hours=23, minutes=59, seconds=59, milliseconds=900)
    works = [
        lambda: requests.decide_refund(refund=waiting, by=boss, is_approved=True),
        lapse_requests,
        lambda: ask(boss, hold.charged_microcredits, hold=hold),
    ]
    at_once(6, lambda number: works[number % 3]())
    given = Refund.objects.filter(state="done")
    assert given.count() <= 1
    assert faults() == []


def test_an_adjustment_lapses_and_moves_nothing(alice, asking, boss, faults, settings):
    settings.REFUND_APPROVAL_MICROCREDITS = 0
    waiting = adjust(asking, alice, 5)
    age(waiting, days=7)
    with pytest.raises(AdjustmentRefused, match="lapsed"):
        adjustments.decide_adjustment(adjustment=waiting, by=boss, is_approved=True)
    assert (adjustments.lapse_overdue(), adjustments.lapse_overdue()) == (1, 0)
    waiting.refresh_from_db()
    assert (waiting.state, waiting.entry, waiting.decided_by) == ("lapsed", None, None)
    assert AuditEvent.objects.get(action="adjustment lapsed").subject == alice
    assert faults() == []
    forge("DELETE FROM accounts_auditevent WHERE action = 'adjustment lapsed'")
    assert any("adjustment lapsed" in fault for fault in faults())


@pytest.mark.parametrize("table", ["refund", "adjustment"])
def test_the_database_knows_nobody_who_let_it_lapse(alice, asking, boss, settings, table):
    settings.REFUND_APPROVAL_MICROCREDITS = 0
    row = adjust(asking, alice, 5) if table == "adjustment" else ask(asking, 1, hold=spend(alice, 1))
    name = f"billing_{table}_decided_unless_waiting"
    for fields in ({"decided_by": boss, "decided_at": timezone.now()}, {"decided_at": None}):
        with pytest.raises(IntegrityError, match=name), transaction.atomic():
            type(row).objects.filter(pk=row.pk).update(state="lapsed", **fields)


def give(by, user, days, amount=5 * CREDIT, key="k"):
    return adjustments.adjust_credits(
        user=user,
        amount_microcredits=amount,
        idempotency_key=key,
        reason="Goodwill after an incident",
        note="Ticket 12",
        by=by,
        expires_after_days=days,
    )


def test_credits_that_staff_give_expire_after_their_days(alice, boss, faults):
    made = give(boss, alice, 30)
    assert give(boss, alice, 30) == made  # a double click
    grant = Grant.objects.get(entry=made.entry)
    assert grant.expires_at == made.decided_at + timedelta(days=30)
    assert AuditEvent.objects.get(action="credits adjusted").details["note"] == "Ticket 12"
    assert faults() == []
    forge(f"UPDATE billing_grant SET expires_at = NULL WHERE id = {grant.pk}")
    assert any("was to expire after 30 days" in fault for fault in faults())


def test_credits_that_waited_expire_days_after_they_came(alice, asking, boss, settings):
    settings.REFUND_APPROVAL_MICROCREDITS = 0
    waiting = give(asking, alice, 30)
    age(waiting, days=5)
    done = adjustments.decide_adjustment(adjustment=waiting, by=boss, is_approved=True, note="Looked at the log")
    assert done.entry.grant.expires_at == done.decided_at + timedelta(days=30)
    assert AuditEvent.objects.get(action="credits adjusted").details["decision"] == "Looked at the log"


@pytest.mark.parametrize(("days", "amount"), [(0, 5), (30, -5)])
def test_the_database_refuses_days_that_make_no_sense(alice, boss, days, amount):
    with pytest.raises(IntegrityError, match="billing_adjustment_expires_only"), transaction.atomic():
        give(boss, alice, days, amount=amount)
    assert not Adjustment.objects.exists()
