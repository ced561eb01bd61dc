"""Usage by day and model adds up to the ledger, in the chart and in the tables, in UTC days."""

import re
from datetime import UTC, date, datetime, timedelta
from unittest import mock

import pytest
from django.core.management import call_command
from django.db import connection
from django.urls import reverse
from django.utils import timezone

import billing.reporting.usage
from billing import ledger, tasks
from billing.ledger.verification import proofs
from billing.models import EntryKind, LedgerEntry, UsageDay
from billing.reporting.charts import draw_usage, round_up
from billing.reporting.usage import last_days, parse_range, sum_new_usage, summarise_usage
from tests.billing.holds import open_hold
from tests.support.cast import CREDIT, fund

NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)
SMALL, MIDDLE = "gemma-3-270m", "gemma-3-1b"


def use(user, at=None, model_key=SMALL, completion_tokens=10):
    """An answer of 10 tokens in that ended at this moment."""
    hold = ledger.hold(
        user=user, model_key=model_key, prompt_tokens=10, max_completion_tokens=100, reference=f"test:{at}:{model_key}"
    )
    with mock.patch("django.utils.timezone.now", return_value=at or timezone.now()):
        ledger.settle(hold_id=hold.pk, completion_tokens=completion_tokens)


def summarise(user, days=7, now=NOON, **whose):
    with mock.patch("django.utils.timezone.now", return_value=now):
        since, until = last_days(days)
        return summarise_usage(user, since=since, until=until, **whose)


def between(user, since, until, **whose):
    """How many answers of a period are summed, in all and of each day."""
    used = summarise_usage(user, since=since, until=until, **whose)
    return used.total.answers, [day.total_microcredits for day in used.days]


def test_usage_is_summed_by_day_and_model(alice, django_assert_num_queries):
    use(alice, NOON)
    use(alice, NOON.replace(hour=13), completion_tokens=20)
    use(alice, NOON.replace(hour=14), model_key=MIDDLE)
    use(alice, NOON.replace(day=8))
    with django_assert_num_queries(2):
        usage = summarise(alice)
    assert [(m.model_key, m.answers, m.prompt_tokens, m.completion_tokens) for m in usage.models] == [
        (MIDDLE, 1, 10, 10),
        (SMALL, 3, 30, 40),
    ]
    days = {day.day: day.charged_microcredits for day in usage.days}
    assert days[date(2026, 3, 10)] == (10 * 100 + 10 * 200, 20 * 20 + 30 * 40)
    assert days[date(2026, 3, 8)] == (0, 10 * 20 + 10 * 40)
    assert days[date(2026, 3, 9)] == (0, 0)
    total = sum(day.total_microcredits for day in usage.days)
    assert total == usage.total.charged_microcredits == sum(m.charged_microcredits for m in usage.models)


@pytest.fixture
def nothing_under_way(monkeypatch):
    """Every entry that is there may be summed."""
    monkeypatch.setattr(proofs, "SETTLING", timedelta(0))


def test_what_is_summed_and_what_came_since_is_counted_once(alice, bob, nothing_under_way, django_assert_num_queries):
    use(alice, NOON)
    use(alice, NOON.replace(day=8))
    use(alice, NOON.replace(hour=13), model_key=MIDDLE)
    before = summarise(alice)
    tasks.sum_usage()
    assert UsageDay.objects.count() == 3
    assert summarise(alice) == before
    use(alice, NOON.replace(hour=14), completion_tokens=20)
    fund(bob, CREDIT)
    use(bob, NOON.replace(minute=1))
    with django_assert_num_queries(2):
        assert summarise(alice).total.answers == 4
    tasks.sum_usage()
    assert summarise(alice).total.charged_microcredits == before.total.charged_microcredits + 10 * 20 + 20 * 40
    assert UsageDay.objects.get(wallet__user=alice, day=NOON.date(), model_key=SMALL).answers_count == 2
    assert summarise(bob).total.answers == 1
    assert summing_faults() == []


def summing_faults():
    """What the proof finds wrong with the sums; these answers have no generation, which is another fault."""
    return [fault for fault in proofs.prove().faults if "summed" in fault]


def test_what_is_summed_is_not_read_from_the_entries_again(alice, nothing_under_way):
    use(alice, NOON)
    tasks.sum_usage()
    UsageDay.objects.update(answers_count=77)
    assert summarise(alice).total.answers == 77


def test_an_entry_that_may_have_been_written_a_moment_ago_waits(alice):
    use(alice)
    tasks.sum_usage()
    assert not UsageDay.objects.exists()
    assert summarise(alice, now=timezone.now()).total.answers == 1


def test_many_entries_are_summed_in_turns(alice, nothing_under_way, monkeypatch):
    monkeypatch.setattr(billing.reporting.usage, "MOST_ENTRIES", 2)
    for minute in range(5):
        use(alice, NOON.replace(minute=minute))
    assert sum_new_usage()
    assert UsageDay.objects.get().answers_count < 5
    assert summarise(alice).total.answers == 5
    tasks.sum_usage()
    assert UsageDay.objects.get().answers_count == 5


def test_the_proof_names_a_day_whose_sum_is_wrong_and_summing_again_mends_it(alice, nothing_under_way):
    use(alice, NOON)
    tasks.sum_usage()
    UsageDay.objects.update(charged_microcredits=1)
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
    wallet = alice.wallet.pk
    assert summing_faults() == [f"wallet {wallet}: 1 answers of 2026-03-10 summed for 1, there are 1 for 600"]
    call_command("sum_usage", "--again")
    assert summarise(alice).total.charged_microcredits == 600
    assert summing_faults() == []


@pytest.mark.parametrize("days", [7, 30, 90])
def test_every_day_of_the_range_is_there_and_today_is_the_last(alice, days):
    usage = summarise(alice, days=days)
    assert len({day.day for day in usage.days}) == len(usage.days) == days
    assert usage.days[-1].day == date(2026, 3, 10)
    assert usage.total.answers == 0


def test_days_begin_and_end_at_midnight_in_utc(alice):
    use(alice, datetime(2026, 3, 4, 0, 0, tzinfo=UTC))
    use(alice, datetime(2026, 3, 10, 23, 59, 59, 999999, tzinfo=UTC))
    use(alice, datetime(2026, 3, 3, 23, 59, 59, 999999, tzinfo=UTC))
    use(alice, datetime(2026, 3, 11, tzinfo=UTC))
    usage = summarise(alice)
    assert usage.total.answers == 2
    assert usage.days[0].total_microcredits == usage.days[-1].total_microcredits == 600


MIDNIGHT = timedelta(hours=12)
MOMENT = timedelta(microseconds=1)
AT = [NOON - timedelta(days=2), NOON - timedelta(days=1), NOON, NOON + timedelta(hours=1)]
BORDERS = (
    (NOON, NOON, [2]),
    (NOON - MOMENT, NOON - MOMENT, [None]),
    (NOON + MOMENT, NOON + timedelta(hours=2), [3]),
    (AT[0], NOON, [0, 1, 2]),
    (AT[0] + MOMENT, NOON, [None, 1, 2]),
    (AT[0] + MOMENT, NOON - MOMENT, [None, 1, None]),
    (NOON - MIDNIGHT - timedelta(days=2), AT[1], [0, 1]),
    (AT[1], NOON + MIDNIGHT - MOMENT, [1, 2, 3]),
    (AT[1] + MOMENT, NOON + MIDNIGHT - MOMENT, [None, 2, 3]),
)


@pytest.mark.parametrize("is_summed", [False, True], ids=["new", "summed"])
def test_a_period_may_begin_and_end_within_a_day(alice, nothing_under_way, django_assert_max_num_queries, is_summed):
    """Each answer costs another amount, so that the sum says which they were."""
    for number, at in enumerate(AT):
        use(alice, at, completion_tokens=10**number // 10)
    cost = [200 + 40 * (10**number // 10) for number in range(len(AT))]
    if is_summed:
        tasks.sum_usage()
        assert UsageDay.objects.count() == 3
    for since, until, numbers in BORDERS:
        with django_assert_max_num_queries(3):
            answers, days = between(alice, since, until)
        found = [number for number in numbers if number is not None]
        assert answers == len(found), (since, until)
        assert sum(days) == sum(cost[number] for number in found), (since, until)
        assert len(days) == (until.date() - since.date()).days + 1


def test_whole_days_within_a_period_of_moments_are_read_from_their_sums(alice, nothing_under_way):
    for at in AT:
        use(alice, at)
    tasks.sum_usage()
    UsageDay.objects.update(answers_count=100)
    assert between(alice, AT[0], AT[2])[0] == 1 + 100 + 1
    assert between(alice, AT[0], AT[2], key_id=0)[0] == 1 + 100 + 1


def test_what_cost_nothing_and_what_was_given_is_no_usage(alice):
    ledger.release(hold_id=open_hold(alice).pk)
    open_hold(alice)
    assert summarise(alice, now=timezone.now()).total.answers == 0


def test_a_refund_does_not_hide_usage(alice, staff):
    use(alice)
    entry = LedgerEntry.objects.get(kind=EntryKind.USAGE)
    ledger.refund(hold_id=entry.hold_id, amount_microcredits=600, idempotency_key="r", reason="sorry", by=staff)
    assert summarise(alice, now=timezone.now()).total.charged_microcredits == 600


@pytest.mark.parametrize(("text", "days"), [("7", 7), ("90", 90), (None, 30), ("0", 30), ("\x00", 30), ("9" * 99, 30)])
def test_only_known_ranges_are_ranges(text, days):
    assert parse_range(text) == days


def test_the_page_draws_each_sum_and_writes_it_in_a_table(client, alice, django_assert_num_queries):
    use(alice)
    use(alice, model_key=MIDDLE, completion_tokens=55)
    client.force_login(alice)
    with django_assert_num_queries(6):
        page = client.get(reverse("billing:usage"), {"days": "7"}).content.decode()
    today = timezone.now().date().isoformat()
    assert f"<title>{today}, gemma-3-270m: 0.0006 credits</title>" in page
    assert f"<title>{today}, gemma-3-1b: 0.012 credits</title>" in page
    assert len(re.findall(r'<rect[^>]*fill="url\(#look-\d\)"[^>]*><title>', page)) == 2
    table = page.split('id="days"')[1].split("</table>")[0]
    assert table.count('<th scope="row"') == 7
    assert re.sub(r"\s+|<[^>]+>", " ", table.split(today)[1]).split() == ["0.012", "0.0006", "0.0126"]
    assert "style=" not in page
    assert "NaN" not in page


@pytest.mark.parametrize("days", ["7", "30", "90"])
def test_a_page_without_use_says_so(client, bob, days):
    client.force_login(bob)
    page = client.get(reverse("billing:usage"), {"days": days}).content.decode()
    assert f"No answer was charged in the last {days} days." in page
    assert 'class="chart"' not in page


@pytest.mark.parametrize("days", ["abc", "\x00", "-7", "9" * 5000])
def test_a_range_that_is_none_shows_thirty_days(client, bob, days):
    client.force_login(bob)
    assert client.get(reverse("billing:usage"), {"days": days}).context["days"] == 30


def test_charlie_sees_only_his_own_use(client, alice, charlie):
    use(alice)
    client.force_login(charlie)
    assert client.get(reverse("billing:usage")).context["usage"].total.answers == 0


def test_nobody_sees_usage_without_log_in(client, db):
    assert client.get(reverse("billing:usage")).status_code == 302


def test_bars_stack_without_gaps_inside_the_plot(alice):
    use(alice, NOON)
    use(alice, NOON, model_key=MIDDLE, completion_tokens=100)
    lower, upper = draw_usage(summarise(alice)).bars
    assert float(upper.y) + float(upper.height) == pytest.approx(float(lower.y), abs=0.02)
    assert lower.x == upper.x
    assert lower.look != upper.look
    assert float(upper.y) >= 24


def test_a_tiny_use_beside_a_huge_one_is_still_drawn(alice):
    use(alice, NOON.replace(day=9), completion_tokens=0)
    use(alice, NOON, model_key="gemma-3-12b", completion_tokens=100)
    assert min(float(bar.height) for bar in draw_usage(summarise(alice)).bars) == 1


@pytest.mark.parametrize(
    ("amount", "end"),
    [(0, 10), (1, 10), (10, 10), (11, 12), (50, 50), (61, 80), (101, 120), (1001, 1200), (10**18, 10**18)],
)
def test_an_axis_ends_at_a_round_number_at_or_above(amount, end):
    assert round_up(amount) == end
