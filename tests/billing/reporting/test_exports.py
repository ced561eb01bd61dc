"""Files of the history: they say what the ledger says, in little memory however long they are, and take turns."""

import asyncio
import csv
import io
import json

import pytest
from asgiref.sync import sync_to_async
from django.db import connection
from django.urls import reverse

from billing.reporting import exports
from core import async_queries
from tests.billing.reporting.entries import credit, use
from tests.billing.reporting.long_history import read_in_little_memory
from tests.support.cast import CREDIT


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


@pytest.mark.django_db(transaction=True)
async def test_a_file_is_the_same_in_every_language(async_client, alice):
    await async_client.aforce_login(alice)
    for name in ("csv", "json"):
        texts = []
        for language in ("de", "en"):
            answer = await async_client.get(reverse(f"billing:export_{name}"), headers={"Accept-Language": language})
            assert answer["Content-Language"] == language
            texts.append(b"".join([part async for part in answer.streaming_content]))
        assert texts[0] == texts[1]
        assert b"100.000000" in texts[0]


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


@pytest.mark.django_db(transaction=True)
async def test_memory_stays_flat_over_100_000_entries(async_client, bob, long_history):
    await async_client.aforce_login(bob)
    response = await async_client.get(reverse("billing:export_json"))
    assert await read_in_little_memory(response.streaming_content) > 30_000_000


@pytest.mark.django_db(transaction=True)
async def test_many_downloads_at_once_take_turns_and_all_arrive(async_client, alice, strange_reasons, monkeypatch):
    monkeypatch.setattr(exports, "BATCH_ENTRIES", 3)
    monkeypatch.setattr(exports, "_batches_at_once", asyncio.Semaphore(exports.BATCHES_AT_ONCE))
    running = most = 0
    in_thread = async_queries.in_thread

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
