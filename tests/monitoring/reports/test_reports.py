"""What the reports say of a month in which everything happened, to the microcredit; in files and terminals too."""

import csv
import io
import json
from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command

from billing.ledger.verification import proofs
from billing.models import LedgerDay
from billing.tasks import sum_usage
from monitoring.models import Alert, AlertState
from monitoring.reports.catalogue import KINDS
from monitoring.reports.charts import draw
from monitoring.reports.files import as_csv, as_data
from monitoring.reports.periods import read_period
from monitoring.totals.metrics import FIRST_TOKEN, MODEL, Sums
from monitoring.totals.samples import read_between, take_sample
from tests.monitoring.reports.conftest import BEGINNING, MIDDLE, at
from tests.support.cast import CREDIT, answered_talk

OCTOBER = ("2026-10-01", "2026-10-31")
ANSWER = 20 * 20 + 3 * 40  # of `answered_talk`, in microcredits


def make(name, first=OCTOBER[0], last=OCTOBER[1]):
    return KINDS[name].make(read_period(first, last))


def rows_of(report, key):
    table = next(table for table in report.tables if table.key == key)
    return {row["key"]: row for row in table.all_rows}


def test_revenue_goes_from_liability_to_liability_to_the_microcredit(october):
    report = make("revenue")
    amounts = {key: row["amount_microcredits"] for key, row in rows_of(report, "flow").items()}
    assert {key: amount for key, amount in amounts.items() if amount} == {
        "sold": 500 * CREDIT,
        "package_bonus": 20 * CREDIT,
        "spent": -3 * ANSWER,
        "answers_refunded": 100,
        "closing": 520 * CREDIT - 3 * ANSWER + 100,
    }
    assert amounts["opening"] == 0
    assert report.proof.is_good
    assert report.proof.heading == "Reconciled: difference 0.000000 credits."
    assert "The ledger's 6 entries of the period add up to +519.998540" in report.proof.text
    assert (
        "at its end 519.998540. All balances now are 619.998540, of which +100.000000 moved since" in report.proof.text
    )
    money = rows_of(report, "money")
    assert [money[key]["amount_minor"] for key in ("taken", "paid_back", "net", "owed")] == [500, 0, 500, 520]
    assert rows_of(report, "steps")["2026-10-15"]["unspent_microcredits"] == amounts["closing"]
    assert rows_of(report, "packages")[""]["payments"] == 1


def test_before_anything_there_is_nothing_and_it_reconciles(october):
    report = make("revenue", "2020-01-01", "2020-12-31")
    assert report.proof.is_good
    assert rows_of(report, "flow")["closing"]["amount_microcredits"] == 0
    assert len(rows_of(report, "steps")) == 12


def test_today_is_until_now(october):
    report = KINDS["revenue"].make(read_period("", ""))
    assert rows_of(report, "flow")["closing"]["what"] == "Unspent credits now (our liability)"
    assert report.proof.is_good


def test_usage_says_answers_and_tokens_and_reconciles_with_their_prices(october):
    report = make("usage")
    together = rows_of(report, "steps")["all"]
    figures = ("answers", "prompt_tokens", "completion_tokens", "charged_microcredits")
    assert [together[key] for key in figures] == [3, 60, 9, 3 * ANSWER]
    assert rows_of(report, "steps")["2026-10-15"]["answers"] == 3
    assert report.proof.is_good
    assert report.proof.figures["priced_microcredits"] == 3 * ANSWER


def test_models_say_what_failed_and_what_was_given_back(october, catalogue):
    row = rows_of(make("models"), "models")[catalogue.key]
    assert (row["answers"], row["failed"], row["cancelled"], row["cached"]) == (3, 1, 0, 0)
    assert row["net_microcredits"] == 3 * ANSWER - 100


def test_a_sum_that_was_tampered_with_is_said_in_every_report_of_money(october, monkeypatch):
    monkeypatch.setattr(proofs, "SETTLING", timedelta(0))
    sum_usage()
    LedgerDay.objects.filter(kind="usage").update(priced_microcredits=1, amount_microcredits=0)
    for name in ("revenue", "usage", "models"):
        report = make(name)
        assert not report.proof.is_good
        assert report.proof.heading.startswith("Not reconciled: difference ")


def test_performance_is_of_all_answers_of_the_period_together(october, catalogue):
    report = make("performance")
    assert rows_of(report, "outcomes")["all"]["completed"] == 3
    assert rows_of(report, "outcomes")[catalogue.key]["failed"] == 1
    assert rows_of(report, "outcomes")["all"]["failed_percent"] == 25.0
    assert rows_of(report, "whole")["all"]["answers"] == 4
    assert "the 4 answers that ended from 2026-10-01 00:00:05 (UTC) to 2026-11-01 00:00:05 (UTC)" in report.proof.text


def test_a_percentile_of_two_days_is_not_the_average_of_theirs(db, monkeypatch):
    """A thousand quick answers on one day, ten slow ones on the next."""
    sums = Sums()
    monkeypatch.setattr("monitoring.totals.samples.read_totals", lambda: sums)
    for day, (seconds, times) in enumerate([(0.0, 0), (0.03, 1000), (4.0, 10)]):
        bucket = FIRST_TOKEN.bucket_of(seconds)
        sums.observe_many(FIRST_TOKEN, ("m",), bucket, times, round(seconds * times * 1_000_000))
        with at(BEGINNING + timedelta(days=day)):
            take_sample()
    [quick, slow] = read_between([BEGINNING + timedelta(days=day) for day in range(3)])
    [both] = read_between([BEGINNING, BEGINNING + timedelta(days=2)])
    assert 2.5 < slow.period.percentile(FIRST_TOKEN, 0.5, **{MODEL: "m"}) <= 5.0
    assert both.period.percentile(FIRST_TOKEN, 0.5) == pytest.approx(quick.period.percentile(FIRST_TOKEN, 0.505), 1e-6)
    assert both.period.percentile(FIRST_TOKEN, 0.95) < 0.04
    assert both.period.amount(FIRST_TOKEN) == 1010


def test_performance_without_samples_says_so(alice):
    report = make("performance")
    assert not report.proof.is_good
    assert report.proof.heading == "There is no sample of this period."
    assert rows_of(report, "first_token")["all"]["p95_seconds"] is None


def test_incidents_say_why_answers_failed_and_whether_the_ledger_was_proven(october):
    report = make("incidents")
    [failure] = rows_of(report, "failures").values()
    assert failure["answers"] == 1
    assert report.proof.is_good is False  # the test's bare entries have no payment behind them
    assert report.proof.heading == "The ledger has a fault."
    [fault] = rows_of(report, "faults").values()
    assert fault["faults"] >= 1
    assert make("incidents", "2026-09-01", "2026-09-30").proof.heading == "The ledger was not proven in this period."


def test_incidents_list_the_alerts_that_opened_in_the_period(db):
    def alert(at, rule="disk", **fields):
        Alert.objects.create(rule=rule, is_critical=True, detail="full", over_since=at, opened_at=at, **fields)

    alert(MIDDLE, state=AlertState.OPEN)
    alert(MIDDLE, "memory", state=AlertState.CLOSED, closed_at=MIDDLE + timedelta(hours=2))
    alert(MIDDLE - timedelta(days=60), "redis_evicts", state=AlertState.OPEN)
    Alert.objects.create(rule="queue_old", is_critical=False, detail="not yet", over_since=MIDDLE)
    disk, memory = rows_of(make("incidents"), "alerts").values()
    assert (disk["opened"], disk["closed"], disk["severity"], disk["detail"]) == (
        f"{MIDDLE:%Y-%m-%d %H:%M}",
        "",
        "critical",
        "full",
    )
    assert memory["closed"] == f"{MIDDLE + timedelta(hours=2):%Y-%m-%d %H:%M}"
    assert [table.key for table in make("incidents").tables] == ["alerts", "faults", "failures"]


@pytest.mark.parametrize("name", KINDS)
def test_every_report_takes_a_bounded_number_of_queries(october, catalogue, alice, name, django_assert_max_num_queries):
    with at(MIDDLE):
        for _ in range(5):
            answered_talk(alice, catalogue)
    with django_assert_max_num_queries(4):
        make(name, "2025-11-01", "2026-10-31")


def test_a_csv_has_exact_numbers_no_formula_and_its_last_line_reconciles(october):
    rows = list(csv.reader(io.StringIO(as_csv(make("revenue")))))
    assert ["Spent on answers", "3", "-0.001560"] in rows
    assert ["Other amounts", "1", "500.000000", "20.000000", "5.00", "USD"] in rows
    assert rows[-1][0].startswith("Reconciled: difference 0.000000 credits. The ledger's 6 entries")
    cells = [cell for row in csv.reader(io.StringIO(as_csv(make("incidents")))) for cell in row]
    assert '\'=HYPERLINK("http://evil")' in cells
    assert not [cell for cell in cells if cell.startswith(("=", "+", "@"))]


def test_json_has_whole_microcredits(october):
    data = json.loads(json.dumps(as_data(make("revenue"))))
    [flow] = [table for table in data["tables"] if table["key"] == "flow"]
    assert flow["first"]["amount_microcredits"] == 0
    assert flow["last"]["amount_microcredits"] == 520 * CREDIT - 3 * ANSWER + 100
    assert data["reconciliation"]["figures"]["difference_microcredits"] == 0
    assert data["period"]["ends_at"] == "2026-11-01T00:00:00Z"


def test_the_command_prints_a_report(october, capsys):
    call_command("report", "revenue", "--from", OCTOBER[0], "--to", OCTOBER[1])
    text = capsys.readouterr().out
    assert text.startswith("Revenue, October 2026\n")
    assert text.rstrip().splitlines()[-1].startswith("Reconciled: difference 0.000000 credits.")
    call_command("report", "usage", "--from", OCTOBER[0], "--to", OCTOBER[1], "--format", "json")
    assert json.loads(capsys.readouterr().out)["report"] == "usage"


def test_the_command_refuses_what_is_no_period(db):
    with pytest.raises(CommandError, match="--from: “2026-02-31” is no day of the calendar"):
        call_command("report", "revenue", "--from", "2026-02-31")


def test_the_command_fails_if_the_ledger_does_not_reconcile(october, monkeypatch):
    monkeypatch.setattr(proofs, "SETTLING", timedelta(0))
    sum_usage()
    LedgerDay.objects.filter(kind="usage").update(amount_microcredits=-5)
    with pytest.raises(CommandError, match="Not reconciled"):
        call_command("report", "revenue", "--from", OCTOBER[0], "--to", OCTOBER[1])


def test_bars_stay_inside_the_plot_and_nothing_is_drawn_of_nothing(october):
    for report in map(make, KINDS):
        for table in report.tables:
            chart = draw(table)
            for bar in chart.bars if chart else ():
                assert 0 <= float(bar.y) <= 186
                assert float(bar.x.rstrip("%")) + float(bar.width.rstrip("%")) <= 100.001
    assert draw(make("revenue", "2020-01-01", "2020-01-31").tables[1]) is None
