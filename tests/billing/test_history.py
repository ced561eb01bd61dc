"""The history: filters that never fail, pages that keep them, and files of any length in little memory."""

import asyncio
import csv
import io
import json
import tracemalloc
from datetime import UTC, datetime, timedelta
from unittest import mock
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import psutil
import pytest
from asgiref.sync import sync_to_async
from django.db import connection
from django.urls import reverse
from django.utils import timezone

import billing.history
from billing import exports, ledger
from billing.history import entries_of, narrow
from billing.models import EntryKind, LedgerEntry
from tests.billing.test_ledger import open_hold
from tests.cast import CREDIT
from tests.owner import as_owner

OVERVIEW = "/credits/"


def credit(user, reason, kind=EntryKind.PROMOTION, amount=CREDIT, at=None):
    """A credit with this reason, entered at this moment."""
    with mock.patch("django.utils.timezone.now", return_value=at or timezone.now()):
        return ledger.grant(
            user=user, kind=kind, amount_microcredits=amount, idempotency_key=f"test:{reason}:{at}", reason=reason
        )


def use(user, completion_tokens=3, **kwargs):
    hold = ledger.settle(hold_id=open_hold(user, **kwargs).pk, completion_tokens=completion_tokens)
    return hold.entries.get()


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
    with django_assert_num_queries(10):
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


async def download(async_client, user, name, **query):
    await async_client.aforce_login(user)
    response = await async_client.get(reverse(f"billing:export_{name}"), query)
    assert response.status_code == 200
    assert response["Content-Disposition"].startswith('attachment; filename="tally-credits-')
    return b"".join([part async for part in response.streaming_content]).decode()


@pytest.mark.django_db(transaction=True)
async def test_csv_and_json_say_what_the_ledger_says(async_client, alice):
    as_csv = await download(async_client, alice, "csv")
    [bonus] = csv.DictReader(io.StringIO(as_csv))
    [entry] = json.loads(await download(async_client, alice, "json"))
    assert list(entry) == list(bonus) == list(exports.COLUMNS)
    assert {name: "" if value is None else str(value) for name, value in entry.items()} == bonus
    assert entry["amount_microcredits"] == entry["balance_after_microcredits"] == 100 * CREDIT
    assert (entry["amount_credits"], entry["hold_id"], entry["reason"]) == ("100.000000", None, "test")


@pytest.fixture
def used(alice):
    return use(alice, completion_tokens=42)


@pytest.mark.django_db(transaction=True)
async def test_a_usage_row_has_model_tokens_and_hold(async_client, alice, used):
    [entry] = json.loads(await download(async_client, alice, "json", kind="usage"))
    assert entry == {
        "entry_id": used.pk,
        "created_at": used.created_at.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "kind": "usage",
        "amount_microcredits": -1880,
        "amount_credits": "-0.001880",
        "balance_after_microcredits": 100 * CREDIT - 1880,
        "model": "gemma-3-270m",
        "prompt_tokens": 10,
        "completion_tokens": 42,
        "hold_id": str(used.hold_id),
        "reason": used.reason,
    }


FORMULAS = ["=1+1", '=HYPERLINK("http://evil")', "+1", "-1", "@SUM(A1)", "\t=1", "\uff1d1"]
HARMLESS = ['said "hi", then left', "two\nlines", "1-1", "Zoë has credit", "a=b"]


@pytest.fixture
def strange_reasons(alice):
    for reason in [*FORMULAS, *HARMLESS]:
        credit(alice, reason)


@pytest.mark.django_db(transaction=True)
async def test_no_cell_of_the_csv_is_a_formula_and_numbers_stay_numbers(async_client, alice, used, strange_reasons):
    text = await download(async_client, alice, "csv")
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    reasons = [row["reason"] for row in reversed(rows) if row["kind"] == "promotion"]
    assert reasons == [f"'{reason}" for reason in FORMULAS] + HARMLESS
    assert [row["amount_microcredits"] for row in rows if row["kind"] == "usage"] == ["-1880"]
    as_json = json.loads(await download(async_client, alice, "json", kind="promotion"))
    assert [entry["reason"] for entry in reversed(as_json)] == FORMULAS + HARMLESS


@pytest.mark.django_db(transaction=True)
async def test_a_file_without_rows_is_still_a_file(async_client, alice):
    assert json.loads(await download(async_client, alice, "json", text="no such text")) == []
    assert await download(async_client, alice, "csv", text="no such text") == ",".join(exports.COLUMNS) + "\r\n"


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("batch_entries", [1, 2, 3, 4, 12, 13, 14])
async def test_batches_lose_and_repeat_nothing(
    async_client, alice, charlie, strange_reasons, monkeypatch, batch_entries
):
    monkeypatch.setattr(exports, "BATCH_ENTRIES", batch_entries)
    entries = json.loads(await download(async_client, alice, "json"))
    numbers = [entry["entry_id"] for entry in entries]
    assert len(numbers) == 13
    assert numbers == sorted(set(numbers), reverse=True)
    assert len(list(csv.reader(io.StringIO(await download(async_client, alice, "csv"), newline="")))) == 14


@pytest.mark.django_db(transaction=True)
async def test_charlie_downloads_only_his_own(async_client, alice, charlie, strange_reasons):
    [entry] = json.loads(await download(async_client, charlie, "json"))
    assert entry["reason"] == "test"


@pytest.mark.parametrize("name", ["csv", "json"])
def test_a_bad_filter_gives_no_file(client, alice, name):
    client.force_login(alice)
    response = client.get(reverse(f"billing:export_{name}"), {"since": "9999-99-99", "kind": "\x00"})
    assert response.status_code == 400
    assert response.content.decode().splitlines() == [
        "kind: There is no such kind of movement.",
        "since: Write a day as 2026-01-31.",
    ]


@pytest.mark.parametrize("name", ["csv", "json"])
def test_nobody_downloads_without_log_in(client, db, name):
    assert client.get(reverse(f"billing:export_{name}")).status_code == 302


ENTRIES = 100_000


def insert_entries(user, count):
    """Entries of this user, inserted by the database with the walls down, for tests that only read them."""
    with connection.cursor() as cursor:
        as_owner("SET session_replication_role = replica")
        cursor.execute(
            """INSERT INTO billing_ledgerentry (wallet_id, kind, amount_microcredits, balance_after_microcredits,
                   idempotency_key, inputs_hash, reason, created_at)
               SELECT %s, 'bonus', n + 1, n, 'long:' || n, repeat('0', 64),
                   'one of very many, number ' || n || ', with some words to weigh something', now()
               FROM generate_series(0, %s - 1) n""",
            [user.wallet.pk, count],
        )
        as_owner("SET session_replication_role = DEFAULT")
        as_owner("ANALYZE billing_ledgerentry")


@pytest.fixture
def long_history(bob):
    """100,000 entries of bob."""
    insert_entries(bob, ENTRIES)


TRACED = range(50, 60)  # of the hundred batches; tracing makes one five times as slow


async def read_in_little_memory(parts):
    """Read a download of `long_history` to its end and return its bytes; memory must not grow with it.

    All of it is watched from outside. Of ten batches every byte is traced: at the most 5 MB at a time, and what is
    kept of them may be ten hundredths of that.
    """
    for _head_and_first_batch in range(2):  # what is made once is made
        await anext(parts)
    sizes, process = [], psutil.Process()
    before = most = process.memory_info().rss
    try:
        async for part in parts:
            sizes.append((len(part), part.count(b"number ")))
            most = max(most, process.memory_info().rss)
            if len(sizes) == TRACED.start:
                tracemalloc.start()
            if len(sizes) == TRACED.stop:
                kept_bytes, peak_bytes = tracemalloc.get_traced_memory()
                tracemalloc.stop()
    finally:
        tracemalloc.stop()
    sent_bytes, entries = map(sum, zip(*sizes, strict=True))
    assert entries == ENTRIES - exports.BATCH_ENTRIES
    assert peak_bytes < 5_000_000
    assert kept_bytes - 2 * sizes[TRACED.stop - 1][0] < 5_000_000 // 10  # the last piece, as text and as bytes
    assert most - before < 20_000_000
    return sent_bytes


@pytest.mark.django_db(transaction=True)
async def test_memory_stays_flat_over_100_000_entries(async_client, bob, long_history):
    await async_client.aforce_login(bob)
    response = await async_client.get(reverse("billing:export_json"))
    assert await read_in_little_memory(response.streaming_content) > 30_000_000


def test_a_short_history_is_found_without_walking_through_the_long_ones(alice, charlie):
    insert_entries(charlie, 800)  # so many that the planner has no doubt
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_sort = off; SET LOCAL enable_seqscan = off")
    plan = entries_of(alice)[:50].explain()
    assert "billing_entry_of_a_wallet" in plan
    assert "billing_ledgerentry_pkey" not in plan


def test_pages_end_where_counting_would_take_for_ever(history, alice, monkeypatch):
    monkeypatch.setattr(billing.history, "MOST_PAGED", 60)
    insert_entries(alice, 70)
    page = history(page="2")
    assert len(shown(page)) == 10
    assert "the latest 60 movements" in page.content.decode()
    oldest = alice.wallet.entries.order_by("pk").first().pk
    assert shown(history(entry=oldest)) == [oldest]  # what a receipt links to
    within = alice.wallet.entries.order_by("-pk")[55].pk
    assert within in shown(history(entry=within))


def test_a_text_is_looked_for_in_the_latest_entries_of_the_days(history, alice, monkeypatch):
    old, new = timezone.now() - timedelta(days=9), timezone.now() - timedelta(days=1)
    found = [credit(alice, f"needle {at:%d}", at=at).pk for at in (old, new)]
    monkeypatch.setattr(billing.history, "MOST_SEARCHED", 2)
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


@pytest.mark.django_db(transaction=True)
async def test_many_downloads_at_once_take_turns_and_all_arrive(async_client, alice, strange_reasons, monkeypatch):
    monkeypatch.setattr(exports, "BATCH_ENTRIES", 3)
    monkeypatch.setattr(exports, "_batches_at_once", asyncio.Semaphore(exports.BATCHES_AT_ONCE))
    running = most = 0
    in_thread = exports.in_thread

    async def counted(function):
        nonlocal running, most
        running += 1
        most = max(most, running)
        try:
            return await in_thread(function)
        finally:
            running -= 1

    monkeypatch.setattr(exports, "in_thread", counted)
    files = await asyncio.gather(*(download(async_client, alice, "json") for _ in range(8)))
    assert {len(json.loads(file)) for file in files} == {13}
    assert most == exports.BATCHES_AT_ONCE


@pytest.mark.django_db(transaction=True)
async def test_a_download_that_is_left_stops_reading(async_client, alice, strange_reasons, monkeypatch):
    monkeypatch.setattr(exports, "BATCH_ENTRIES", 3)
    monkeypatch.setattr(exports, "_batches_at_once", asyncio.Semaphore(1))
    await async_client.aforce_login(alice)
    response = await async_client.get(reverse("billing:export_json"))
    parts = response.streaming_content
    assert await anext(parts) == b"[\n"
    assert json.loads(b"[" + await anext(parts) + b"]")
    await parts.aclose()
    assert not exports._batches_at_once.locked()


@pytest.mark.django_db(transaction=True)
async def test_a_download_that_waits_for_its_turn_holds_no_connection(async_client, alice):
    await async_client.aforce_login(alice)
    response = await async_client.get(reverse("billing:export_csv"))
    assert await sync_to_async(lambda: connection.connection)() is None
    assert [part async for part in response.streaming_content]
