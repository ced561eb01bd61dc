"""Old notices are deleted, and the bodies of old webhook events emptied; the books stay."""

from datetime import timedelta
from unittest import mock

from django.utils import timezone

from billing import purge
from billing.models import Notice, PaymentEvent
from billing.stripe.events import receive_event
from billing.tasks import purge_billing

DAY = timedelta(days=1)
BODY = {"data": {"object": {"customer_details": {"name": "Ann Lee"}}}}


def notice(user, name, *, age, read=None):
    """A notice that was written and read so long ago."""
    made = Notice.objects.create(user=user, name=name, path="/credits/")
    now = timezone.now()
    Notice.objects.filter(pk=made.pk).update(created_at=now - age, read_at=None if read is None else now - read)


def event(name, *, age, is_open=False):
    """An event that came so long ago."""
    made = PaymentEvent.objects.create(provider="stripe", event_id=name, type="charge.updated", payload=BODY)
    now = timezone.now()
    PaymentEvent.objects.filter(pk=made.pk).update(received_at=now - age, processed_at=None if is_open else now - age)


def test_notices_go_some_time_after_they_were_read_or_when_they_are_old(alice):
    notice(alice, "new", age=DAY)
    notice(alice, "unread", age=399 * DAY)
    notice(alice, "unread and old", age=401 * DAY)
    notice(alice, "read", age=200 * DAY, read=89 * DAY)
    notice(alice, "read long ago", age=200 * DAY, read=91 * DAY)
    assert purge.purge_notices() == 2
    assert set(Notice.objects.values_list("name", flat=True)) == {"new", "unread", "read"}
    assert purge.purge_notices() == 0


def test_old_events_lose_their_body_and_stay_known(db):
    event("new", age=89 * DAY)
    event("old", age=91 * DAY)
    event("old and open", age=91 * DAY, is_open=True)
    purge_billing()
    emptied = PaymentEvent.objects.get(payload={})
    assert (emptied.event_id, emptied.type, PaymentEvent.objects.count()) == ("old", "charge.updated", 3)
    assert purge.empty_events() == 0
    receive_event(event={"id": "old", "type": "charge.updated", **BODY})  # should it ever come again
    emptied.refresh_from_db()
    assert (emptied.payload, PaymentEvent.objects.count()) == ({}, 3)


def test_the_ages_are_settings(alice, settings):
    settings.KEEP_READ_NOTICES_DAYS, settings.KEEP_NOTICES_DAYS, settings.KEEP_EVENT_BODIES_DAYS = 1, 10, 20
    notice(alice, "read", age=3 * DAY, read=2 * DAY)
    notice(alice, "unread", age=11 * DAY)
    event("old", age=21 * DAY)
    assert (purge.purge_notices(), purge.empty_events()) == (2, 1)


def test_a_purge_goes_by_the_clock_of_the_database(alice):
    notice(alice, "new", age=DAY, read=DAY)
    event("new", age=DAY)
    with mock.patch("django.utils.timezone.now", return_value=timezone.now() + 1000 * DAY):
        assert (purge.purge_notices(), purge.empty_events()) == (0, 0)
