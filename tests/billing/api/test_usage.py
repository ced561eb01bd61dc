"""Usage through the API: by model and day, by key and end user, between days and between moments."""

from datetime import timedelta
from unittest import mock

import pytest
from django.utils import timezone

from billing import ledger
from billing.models import EntryKind, LedgerEntry, UsageDay
from billing.reporting.usage import sum_new_usage
from inference.models import Generation
from tests.billing.holds import open_hold
from tests.support.cast import answered_talk


def test_usage_sums_by_model_and_day(login, alice, django_assert_num_queries):
    charged = sum(ledger.settle(hold_id=open_hold(alice).pk, completion_tokens=n).charged_microcredits for n in (3, 4))
    client = login(alice)
    with django_assert_num_queries(4):
        used = client.get("/api/v1/usage?days=7").json()
    assert used["total"]["charged_microcredits"] == charged
    assert [model["completion_tokens"] for model in used["models"]] == [7]
    assert len(used["days"]) == 7
    assert used["days"][-1]["charged_microcredits"] == {"gemma-3-270m": charged}
    for wrong in ("0", "367", "x", "1.5", ""):
        assert client.get(f"/api/v1/usage?days={wrong}").status_code == 400


def test_usage_is_summed_between_days_by_key_and_by_end_user(login, alice, catalogue, with_key):
    client, keyed = login(alice), with_key(alice)
    key = alice.api_keys.get()
    by_key = answered_talk(alice, catalogue, api_key=key).messages.last().generation
    alone = answered_talk(alice, catalogue).messages.last().generation
    Generation.objects.filter(pk=by_key.pk).update(end_user="customer 12")
    charged = {each: each.hold.charged_microcredits for each in (by_key, alone)}

    def total(query, caller=client):
        return caller.get(f"/api/v1/usage?{query}").json()["total"]["charged_microcredits"]

    for _summed_or_not in range(2):
        assert total("") == sum(charged.values())
        assert total(f"key={key.pk}", keyed) == total("end_user=customer+12") == charged[by_key]
        assert total("key=0") == charged[alone]
        assert total("end_user=customer+13") == total("key=999999") == 0
        today = timezone.now().date()
        assert total(f"since={today}&until={today}") == sum(charged.values())
        assert total(f"until={today - timedelta(days=1)}&days=7") == 0
        with mock.patch("billing.ledger.verification.proofs.SETTLING", timedelta(0)):
            assert sum_new_usage() or UsageDay.objects.exists()
    listed = [each["id"] for each in client.get(f"/api/v1/generations?key={key.pk}").json()["results"]]
    assert listed == [each["id"] for each in client.get("/api/v1/generations?end_user=customer 12").json()["results"]]
    assert listed == [str(by_key.pk)]
    assert client.get("/api/v1/generations?until=2020-01-01").json()["results"] == []


@pytest.mark.parametrize(
    "query",
    [
        "since=soon",
        "since=",
        "since=2026-03-10T12:00:00",
        "since=2026-02-30",
        "until=1767225600",
        "key=-1",
        "end_user=",
        "day=7",
    ],
)
def test_a_query_that_makes_no_sense_is_a_400(login, alice, query):
    assert login(alice).get(f"/api/v1/usage?{query}").status_code == 400


@pytest.mark.parametrize(
    "query",
    [
        "since=2020-01-01",
        "since=2099-01-01",
        "since=2026-03-10T12:00:00Z&until=2026-03-10T11:59:59Z",
        "since=2025-03-10T23:00:00Z&until=2026-03-11T01:00:00Z",
    ],
)
def test_a_period_that_is_none_or_too_long_is_a_422(login, alice, query):
    """The schema cannot say it: a 400 is for what the schema refuses."""
    assert login(alice).get(f"/api/v1/usage?{query}").status_code == 422


@pytest.mark.parametrize(
    ("query", "days"),
    [
        ("until=9999-12-31", 30),
        ("since=9999-12-31T12:00:00Z&until=9999-12-31T23:00:00-08:00", 1),
        ("until=0001-01-01T12:00:00Z", 1),
        ("since=0001-01-01T00:00:00%2B23:59&until=0001-01-02", 2),
        ("since=2025-03-11T23:00:00Z&until=2026-03-11T01:00:00Z", 366),
    ],
)
def test_a_period_at_the_ends_of_the_calendar_is_one(login, alice, query, days):
    assert len(login(alice).get(f"/api/v1/usage?{query}").json()["days"]) == days


def test_usage_is_summed_between_moments(login, alice):
    client = login(alice)
    ledger.settle(hold_id=open_hold(alice).pk, completion_tokens=3)
    entry = LedgerEntry.objects.get(kind=EntryKind.USAGE)
    moment, before, after = (entry.created_at + timedelta(microseconds=n) for n in (0, -1, 1))
    elsewhere = moment.astimezone(timezone.get_fixed_timezone(330)).isoformat()

    def answers(**query):
        return client.get("/api/v1/usage", query).json()["total"]["answers"]

    assert answers(since=moment.isoformat(), until=moment.isoformat()) == 1
    assert answers(since=elsewhere, until=elsewhere) == 1
    assert answers(since=after.isoformat(), until=(moment + timedelta(hours=1)).isoformat()) == 0
    assert answers(until=before.isoformat()) == 0
    assert answers(until=before.isoformat(), days=7) == 0
    assert answers(since=before.isoformat()) == 1
    assert answers(since=moment.date().isoformat(), until=moment.isoformat(), key=0) == 1
