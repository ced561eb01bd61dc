"""Statements: the lines of every month recompute to the balance, whatever their number, on the page and in the file."""

import csv
import io
import re
from datetime import UTC, date, datetime
from itertools import pairwise
from unittest import mock

import pytest
from asgiref.sync import sync_to_async
from django.db import connection
from django.urls import reverse

from billing import ledger
from billing.models import EntryKind, LedgerEntry
from billing.reporting import exports
from billing.reporting.statements import NoStatement, make_statement, months_of
from core.days import this_month
from tests.billing.holds import open_hold
from tests.billing.reporting.entries import credit, insert_entries
from tests.billing.reporting.long_history import read_in_little_memory
from tests.support.cast import CREDIT, fund

CHARGE = 10 * 20 + 100 * 40


def at(text):
    return mock.patch("django.utils.timezone.now", return_value=datetime.fromisoformat(text).replace(tzinfo=UTC))


def answer(user):
    return ledger.settle(hold_id=open_hold(user, 10, 100).pk, completion_tokens=100)


@pytest.fixture
def eventful(bob, staff):
    """Bob's movements from July to September 2026, none of them in August."""
    with at("2026-07-31T23:59:59.999999"):
        fund(bob, 50 * CREDIT, key="july")
    with at("2026-09-01T00:00:00"):
        charged = answer(bob)
        answer(bob)
    with at("2026-09-30T23:59:59.999999"):
        ledger.refund(hold_id=charged.pk, amount_microcredits=500, idempotency_key="r", reason="poor", by=staff)
        ledger.adjust(user=bob, amount_microcredits=-CREDIT, idempotency_key="a", reason="wrong", by=staff)
    return bob


def made(user, month):
    return make_statement(user=user, month=date.fromisoformat(f"{month}-01"))


def test_a_statement_has_opening_lines_sums_and_closing(eventful):
    september = made(eventful, "2026-09")
    assert september.opening_microcredits == 50 * CREDIT
    assert {row.kind: (row.entries, row.amount_microcredits) for row in september.sums} == {
        EntryKind.USAGE: (2, -2 * CHARGE),
        EntryKind.REFUND: (1, 500),
        EntryKind.ADJUSTMENT: (1, -CREDIT),
    }
    assert september.closing_microcredits == 49 * CREDIT - 2 * CHARGE + 500
    assert [line.kind for line in september.lines] == ["usage", "usage", "refund", "adjustment"]
    assert not september.is_running


def test_each_closing_is_the_next_opening_and_the_last_one_is_the_balance(eventful):
    fund(eventful, CREDIT, key="now")
    statements = [make_statement(user=eventful, month=month) for month in months_of(eventful)]
    statements.reverse()
    assert statements[0].opening_microcredits == 0
    for earlier, later in pairwise(statements):
        assert earlier.closing_microcredits == later.opening_microcredits
    for statement in statements:
        lines = list(statement.lines)
        assert statement.opening_microcredits + sum(line.amount_microcredits for line in lines) == (
            statement.closing_microcredits
        )
        if lines:
            assert lines[-1].balance_after_microcredits == statement.closing_microcredits
    eventful.wallet.refresh_from_db()
    assert statements[-1].closing_microcredits == eventful.wallet.balance_microcredits
    assert (
        sum(statement.lines_count for statement in statements)
        == LedgerEntry.objects.filter(wallet=eventful.wallet).count()
    )


def test_a_clock_that_runs_behind_loses_and_repeats_no_line(eventful):
    with at("2026-10-01T00:00:01"):
        fund(eventful, CREDIT, key="october")
    with at("2026-09-30T23:59:58"):  # another machine, a little late
        fund(eventful, 2 * CREDIT, key="late clock")
    september, october = made(eventful, "2026-09"), made(eventful, "2026-10")
    assert september.closing_microcredits == october.opening_microcredits
    assert [line.amount_microcredits for line in october.lines] == [CREDIT, 2 * CREDIT]


def test_an_empty_month_keeps_the_balance(eventful):
    august = made(eventful, "2026-08")
    assert (august.opening_microcredits, august.lines_count) == (50 * CREDIT, 0)
    assert august.closing_microcredits == 50 * CREDIT


def test_the_running_month_says_so_and_ends_with_what_there_was_when_it_was_made(eventful):
    fund(eventful, CREDIT, key="now")
    statement = make_statement(user=eventful, month=this_month())
    fund(eventful, CREDIT, key="a moment later")
    assert statement.is_running
    assert [line.amount_microcredits for line in statement.lines] == [CREDIT]


def test_months_go_from_the_first_entry_to_now(eventful, charlie):
    with at("2026-11-22T12:00:00"):
        assert [month.month for month in months_of(eventful)] == [11, 10, 9, 8, 7]
    with at("2026-01-15T12:00:00"):
        assert months_of(charlie) == [date(2026, 1, 1)]


@pytest.mark.parametrize("month", ["2026-06", "1999-01", "9999-11"])
def test_there_is_no_statement_before_the_first_entry_or_of_the_future(eventful, month):
    with pytest.raises(NoStatement):
        made(eventful, month)


def test_a_statement_asks_at_most_five_questions_whatever_its_length(eventful, django_assert_num_queries):
    assert eventful.wallet
    with django_assert_num_queries(4):
        made(eventful, "2026-07")
    with django_assert_num_queries(5):  # nothing came after it, so it ends with the latest entry
        made(eventful, "2026-09")


# Pages


def test_the_list_links_every_month(client, eventful, django_assert_num_queries):
    client.force_login(eventful)
    with django_assert_num_queries(5):  # session, user, wallet, first entry
        page = client.get(reverse("billing:statements")).content.decode()
    assert reverse("billing:statement", args=[date(2026, 7, 1)]) == "/credits/statements/2026-07/"
    assert 'href="/credits/statements/2026-07/"' in page
    assert 'href="/credits/statements/2026-07.csv"' in page
    assert "still running" in page


async def fetch(async_client, user, path):
    await async_client.aforce_login(user)
    response = await async_client.get(path)
    assert response.status_code == 200
    return b"".join([part async for part in response.streaming_content]).decode()


def amounts(page, table):
    rows = re.findall(r"<tr>(.*?)</tr>", page.split(f'id="{table}"')[1].split("</table>")[0], re.DOTALL)
    cells = [re.findall(r'class="amount[^"]*"[^>]*>\s*([-+]?[\d,.]+)\s*<', row) for row in rows]
    return [[float(cell.replace(",", "")) for cell in row] for row in cells if row]


@pytest.mark.django_db(transaction=True)
async def test_the_page_shows_what_the_statement_says(async_client, eventful):
    page = await fetch(async_client, eventful, "/credits/statements/2026-09/")
    lines = amounts(page, "lines")
    assert [line[0] for line in lines] == [-0.0042, -0.0042, 0.0005, -1.0]
    assert round(50 + sum(line[0] for line in lines), 6) == lines[-1][1] == 48.9921
    assert 'id="opening">50.00<' in page
    assert 'id="closing">48.9921<' in page
    assert "still running" not in page
    assert "poor" in page
    assert "gemma-3-270m" in page
    assert page.rstrip().endswith("</html>")


@pytest.mark.django_db(transaction=True)
async def test_an_empty_month_and_the_running_one_are_pages_too(async_client, eventful):
    page = await fetch(async_client, eventful, "/credits/statements/2026-08/")
    assert "Nothing moved." in page
    running = reverse("billing:statement", args=[this_month()])
    page = await fetch(async_client, eventful, running)
    assert "still running" in page
    assert "Balance so far" in page


@pytest.mark.django_db(transaction=True)
async def test_a_reason_is_text_and_never_markup_nor_the_mark(async_client, bob):
    for number, reason in enumerate(["<script>alert(1)</script>", "<!--lines-->"]):
        await sync_to_async(ledger.grant)(
            user=bob,
            kind=EntryKind.PROMOTION,
            amount_microcredits=CREDIT,
            idempotency_key=str(number),
            reason=reason,
        )
    page = await fetch(async_client, bob, reverse("billing:statement", args=[this_month()]))
    assert "<script>alert" not in page
    assert "&lt;!--lines--&gt;" in page


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("batch_entries", [1, 2, 3, 4, 5])
async def test_the_file_recomputes_to_the_balance(async_client, eventful, monkeypatch, batch_entries):
    monkeypatch.setattr(exports, "BATCH_ENTRIES", batch_entries)
    text = await fetch(async_client, eventful, "/credits/statements/2026-09.csv")
    opening, *lines, closing = csv.DictReader(io.StringIO(text, newline=""))
    assert (opening["kind"], closing["kind"]) == ("opening_balance", "closing_balance")
    balance = int(opening["balance_after_microcredits"])
    for line in lines:
        balance += int(line["amount_microcredits"])
        assert balance == int(line["balance_after_microcredits"])
    assert balance == int(closing["balance_after_microcredits"])
    assert len(lines) == 4


@pytest.mark.django_db(transaction=True)
async def test_charlie_gets_only_his_own(async_client, eventful, charlie):
    await async_client.aforce_login(charlie)
    for path in ("/credits/statements/2026-09/", "/credits/statements/2026-09.csv"):
        assert (await async_client.get(path)).status_code == 404  # his wallet has no entry of that month or before
    page = await fetch(async_client, charlie, reverse("billing:statement", args=[this_month()]))
    assert amounts(page, "lines") == [[100.0, 100.0]]


@pytest.mark.parametrize("month", ["2026-13", "2026-00", "0000-01", "2026-1", "20261-01", "now", "2026-09-01"])
def test_a_month_that_is_none_is_not_found(client, alice, month):
    client.force_login(alice)
    assert client.get(f"/credits/statements/{month}/").status_code == 404
    assert client.get(f"/credits/statements/{month}.csv").status_code == 404


@pytest.mark.parametrize("path", ["", "2026-09/", "2026-09.csv"])
def test_nobody_sees_a_statement_without_log_in(client, db, path):
    assert client.get(f"/credits/statements/{path}").status_code == 302


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("ending", ["/", ".csv"])
async def test_memory_stays_flat_over_100_000_lines(async_client, bob, long_history, ending):
    await async_client.aforce_login(bob)
    response = await async_client.get(f"/credits/statements/{this_month():%Y-%m}{ending}")
    assert await read_in_little_memory(response.streaming_content) > 10_000_000


def test_a_short_statement_is_found_by_the_wallets_own_index(alice, charlie):
    insert_entries(charlie, 800)  # so many that the planner has no doubt
    credit(alice, "after them")
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_sort = off; SET LOCAL enable_seqscan = off")
    plan = make_statement(user=alice, month=this_month()).lines.explain()
    assert "billing_entry_of_a_wallet" in plan
    assert "billing_ledgerentry_pkey" not in plan
