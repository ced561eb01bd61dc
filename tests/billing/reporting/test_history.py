"""The history: filters that never fail, pages that keep them, and ends of both where it is long."""

from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import pytest
from django.db import connection
from django.urls import reverse
from django.utils import timezone

import billing.pages.overview
import billing.reporting.history
from billing import ledger
from billing.models import EntryKind, LedgerEntry
from billing.reporting.history import entries_of, narrow
from tests.billing.reporting.entries import credit, insert_entries, use
from tests.support.cast import CREDIT

OVERVIEW = "/credits/"


@pytest.fixture
def history(client, alice):
    """Call it with a query to get alice's page; log-in is done."""
    client.force_login(alice)

    def get(**query):
        response = client.get(OVERVIEW, query)
        assert response.status_code == 200
        return response

    return get


def shown(response):
    return [entry.pk for entry in response.context["page"]]


def test_without_filters_everything_is_shown_the_latest_first(history, alice):
    entries = [use(alice), credit(alice, "spring sale")]
    assert shown(history())[:2] == [entries[1].pk, entries[0].pk]
    assert len(shown(history())) == 3


def test_the_kind_filter_keeps_one_kind(history, alice):
    usage, promotion = use(alice), credit(alice, "spring sale")
    assert shown(history(kind="usage")) == [usage.pk]
    assert shown(history(kind="promotion")) == [promotion.pk]
    assert shown(history(kind="chargeback")) == []


@pytest.mark.parametrize(
    ("text", "finds_usage", "finds_promotion"),
    [("SPRING", False, True), ("270m", True, False), ("100%", False, True), ("_", False, False), ("zzz", False, False)],
)
def test_the_text_filter_looks_into_reason_and_model_literally(history, alice, text, finds_usage, finds_promotion):
    usage, promotion = use(alice, reference="test:plain"), credit(alice, "Spring 100% sale")
    found = shown(history(text=text))
    assert (usage.pk in found, promotion.pk in found) == (finds_usage, finds_promotion)


def test_days_are_whole_utc_days_and_both_are_included(history, alice):
    first = credit(alice, "first moment", at=datetime(2026, 3, 1, tzinfo=UTC))
    last = credit(alice, "last moment", at=datetime(2026, 3, 2, 23, 59, 59, 999999, tzinfo=UTC))
    credit(alice, "too early", at=datetime(2026, 2, 28, 23, 59, 59, 999999, tzinfo=UTC))
    credit(alice, "too late", at=datetime(2026, 3, 3, tzinfo=UTC))
    assert shown(history(since="2026-03-01", until="2026-03-02")) == [last.pk, first.pk]
    assert shown(history(since="2026-03-01", until="2026-03-01")) == [first.pk]


def test_filters_combine(history, alice):
    wanted = credit(alice, "spring one", at=datetime(2026, 3, 1, 12, tzinfo=UTC))
    credit(alice, "spring two", at=datetime(2026, 4, 1, 12, tzinfo=UTC))
    credit(alice, "spring three", kind=EntryKind.BONUS, at=datetime(2026, 3, 1, 12, tzinfo=UTC))
    assert shown(history(kind="promotion", text="spring", since="2026-03-01", until="2026-03-31")) == [wanted.pk]


@pytest.mark.parametrize(
    ("query", "field", "message"),
    [
        ({"kind": "bribe"}, "kind", "There is no such kind of movement."),
        ({"kind": "\x00"}, "kind", "There is no such kind of movement."),
        ({"since": "9999-99-99"}, "since", "Write a day as 2026-01-31."),
        ({"until": "\x00"}, "until", "Write a day as 2026-01-31."),
        ({"until": "-1"}, "until", "Write a day as 2026-01-31."),
        ({"since": "2026-03-02", "until": "2026-03-01"}, "until", "This day is before the first one."),
        ({"text": "a\x00b"}, "text", "Null characters are not allowed."),
        ({"text": "x" * 101}, "text", "Ensure this value has at most 100 characters (it has 101)."),
    ],
)
def test_a_bad_filter_is_explained_beside_its_field_and_everything_is_shown(history, alice, query, field, message):
    use(alice)
    response = history(**({"text": "no such text"} | query))
    assert len(shown(response)) == 2
    assert response.context["form"].errors[field] == [message]
    page = response.content.decode()
    assert f'id="id_{field}_error"' in page
    assert "so this is everything" in page
    assert "export.csv?" not in page


@pytest.mark.parametrize("query", [{"since": "0001-01-01"}, {"until": "9999-12-31"}])
def test_the_ends_of_the_calendar_are_days_like_others(history, query):
    assert len(shown(history(**query))) == 1


@pytest.mark.parametrize("number", ["0", "-1", "two", "\x00", "9" * 30, "9" * 5000, "1e9", ""])
def test_a_page_that_does_not_exist_is_the_nearest_one(history, number):
    assert len(shown(history(page=number))) == 1


def test_unknown_and_repeated_parameters_do_no_harm(client, alice):
    client.force_login(alice)
    response = client.get(f"{OVERVIEW}?kind=usage&kind=bonus&colour=red&%00=%ff&text=%ff")
    assert response.status_code == 200


def test_pages_keep_the_filters_and_so_do_the_downloads(history, alice, django_assert_num_queries):
    for number in range(51):
        credit(alice, f"a&b {number}")
    with django_assert_num_queries(11):
        response = history(kind="promotion", text="a&b")
    assert len(shown(response)) == 50
    page = response.content.decode()
    older = page.split('rel="next"')[1].split('href="')[1].split('"')[0].replace("&amp;", "&")
    assert parse_qs(urlsplit(older).query) == {"kind": ["promotion"], "text": ["a&b"], "page": ["2"]}
    assert 'export.csv?kind=promotion&amp;text=a%26b"' in page
    response = history(**{name: values[0] for name, values in parse_qs(urlsplit(older).query).items()})
    assert len(shown(response)) == 1
    assert "page=1#history" in response.content.decode()


def test_each_row_with_a_hold_opens_its_receipt(history, alice):
    usage = use(alice)
    page = history().content.decode()
    assert page.count("/credits/receipts/") == 1
    assert reverse("billing:receipt", args=[usage.hold_id]) in page


def test_a_bought_credit_opens_its_order(history, alice):
    number = uuid4()
    for key in (f"topup:{number}", f"topup-bonus:{number}", "topup:nonsense", "gift:1"):
        ledger.grant(
            user=alice, kind=EntryKind.BONUS, amount_microcredits=CREDIT, idempotency_key=key, reason="Package of 500"
        )
    page = history().content.decode()
    assert page.count(f'href="{reverse("billing:topup", args=[number])}"') == 2
    assert page.count("/credits/top-ups/") == 2


def test_charlie_sees_only_his_own_whatever_he_filters(client, alice, charlie):
    use(alice)
    credit(alice, "spring sale")
    client.force_login(charlie)
    for query in ({}, {"text": "spring"}, {"kind": "usage"}, {"kind": "nonsense"}):
        entries = LedgerEntry.objects.filter(pk__in=shown(client.get(OVERVIEW, query)))
        assert not entries.exclude(wallet__user=charlie).exists()


def test_a_reason_is_text_and_never_markup(history, alice):
    credit(alice, "<script>alert(1)</script>")
    assert "<script>alert" not in history().content.decode()


# Files


def test_a_short_history_is_found_without_walking_through_the_long_ones(alice, charlie):
    insert_entries(charlie, 800)  # so many that the planner has no doubt
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_sort = off; SET LOCAL enable_seqscan = off")
    plan = entries_of(alice)[:50].explain()
    assert "billing_entry_of_a_wallet" in plan
    assert "billing_ledgerentry_pkey" not in plan


def test_pages_end_where_counting_would_take_for_ever(history, alice, monkeypatch):
    monkeypatch.setattr(billing.reporting.history, "MOST_PAGED", 60)
    insert_entries(alice, 70)
    page = history(page="2")
    assert len(shown(page)) == 10
    assert "the latest 60 movements" in page.content.decode()
    oldest = alice.wallet.entries.order_by("pk").first().pk
    assert shown(history(entry=oldest)) == [oldest]  # what a receipt links to
    old = alice.wallet.entries.order_by("-pk")[65].pk
    monkeypatch.setattr(billing.pages.overview, "ENTRIES_A_PAGE", 2)
    beyond = history(entry=old)
    assert shown(beyond) == [old, old - 1]
    older = beyond.content.decode().split('rel="next"')[1].split('href="?')[1].split("#")[0].replace("&amp;", "&")
    assert shown(history(**{name: values[0] for name, values in parse_qs(older).items()})) == [old - 2, old - 3]
    within = alice.wallet.entries.order_by("-pk")[55].pk
    assert within in shown(history(entry=within))


def test_a_text_is_looked_for_in_the_latest_entries_of_the_days(history, alice, monkeypatch):
    old, new = timezone.now() - timedelta(days=9), timezone.now() - timedelta(days=1)
    found = [credit(alice, f"needle {at:%d}", at=at).pk for at in (old, new)]
    monkeypatch.setattr(billing.reporting.history, "MOST_SEARCHED", 2)
    insert_entries(alice, 1)
    page = history(text="needle")
    assert shown(page) == found[1:]
    assert "The latest 2 movements were looked through." in page.content.decode()
    page = history(text="needle", until=new.date().isoformat())
    assert shown(page) == found[::-1]
    page = history(text="needle", until=old.date().isoformat())
    assert (shown(page), "were looked through" in page.content.decode()) == (found[:1], False)


def test_narrow_with_nothing_asked_keeps_everything(alice):
    entries = entries_of(alice)
    assert list(narrow(entries, kind="", since=None, until=None, text="")) == list(entries)


def test_a_day_later_nothing_of_today_is_shown(history):
    tomorrow = (timezone.now() + timedelta(days=1)).date()
    assert shown(history(since=tomorrow.isoformat())) == []
    assert "No movement is like that." in history(since=tomorrow.isoformat()).content.decode()
