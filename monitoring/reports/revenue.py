"""The report of revenue: from what we owed to what we owe, credit by credit, and the money for it."""

from collections import defaultdict
from typing import Any

from django.conf import settings
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from billing.currencies import format_money
from billing.reporting import revenue
from billing.reporting.ledger_days import LedgerOfPeriod, read_ledger, usage_of
from billing.reporting.revenue import WAYS, PackageSold, PaidBack, owed_minor, sum_ways
from monitoring.reports.periods import ReportPeriod
from monitoring.reports.proofs import prove_balances
from monitoring.reports.tables import Column, Report, Row, Table, Unit


def make(period: ReportPeriod) -> Report:
    """Make the report. Four queries."""
    ledger = read_ledger(period.first, period.last)
    packages = revenue.read_packages(period.begin, period.end)
    paid_back = revenue.read_paid_back(period.begin, period.end)
    return Report(
        name="revenue",
        title=_("Revenue"),
        period=period,
        made_at=timezone.now(),
        proof=prove_balances(ledger),
        tables=[
            _flow(ledger, period),
            _steps(ledger, period),
            _packages(packages),
            _money(packages, paid_back, ledger),
            _models(ledger),
        ],
    )


def _titles() -> dict[str, str]:
    return {
        "sold": _("Sold"),
        "package_bonus": _("Bonus on packages"),
        "signup_bonus": _("Bonus for signing up"),
        "promotion": _("Promotion codes"),
        "spent": _("Spent on answers"),
        "answers_refunded": _("Answers refunded"),
        "adjusted_up": _("Adjusted by staff, up"),
        "adjusted_down": _("Adjusted by staff, down, and given up at closing"),
        "payments_refunded": _("Taken back for refunded payments"),
        "refunds_failed": _("Given again, as refunds failed"),
        "disputed": _("Taken back for disputed payments"),
        "disputes_won": _("Given again, as disputes were won"),
        "debts_paid": _("Debts of such payments paid"),
        "expired": _("Expired"),
    }


def _flow(ledger: LedgerOfPeriod, period: ReportPeriod) -> Table:
    titles, ways = _titles(), sum_ways(ledger)
    rows: list[Row] = [
        {"key": key, "what": titles[key], "entries": moved.entries, "amount_microcredits": moved.amount_microcredits}
        for key, moved in ways.items()
    ]
    end = (
        _("Unspent credits now (our liability)")
        if period.is_running
        else _("Unspent credits at the end (our liability)")
    )
    return Table(
        "flow",
        _("From what we owed to what we owe"),
        (
            Column("what", _("What")),
            Column("entries", _("Entries"), Unit.COUNT),
            Column("amount_microcredits", _("Credits"), Unit.MICROCREDITS),
        ),
        rows,
        first={
            "key": "opening",
            "what": _("Unspent credits at the beginning"),
            "amount_microcredits": ledger.opening_microcredits,
        },
        last={
            "key": "closing",
            "what": end,
            "entries": ledger.entries,
            "amount_microcredits": ledger.closing_microcredits,
        },
    )


def _steps(ledger: LedgerOfPeriod, period: ReportPeriod) -> Table:
    """Each day or month, with what customers owned at its end."""
    sums: dict[Any, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    ways = {way.key: way for way in WAYS}
    for day in ledger.days:
        sums[day.day]["moved"] += day.amount_microcredits
        for key in ("sold", "spent"):
            if ways[key].has(day):
                sums[day.day][key] += abs(day.amount_microcredits)
    owned, rows = ledger.opening_microcredits, []
    for step in period.steps:
        of_step = {key: sum(sums[day][key] for day in step.days) for key in ("sold", "spent", "moved")}
        owned += of_step["moved"]
        rows.append(
            {
                "key": step.first.isoformat(),
                "when": step.short_name,
                "sold_microcredits": of_step["sold"],
                "spent_microcredits": of_step["spent"],
                "moved_microcredits": of_step["moved"],
                "unspent_microcredits": owned,
            }
        )
    return Table(
        "steps",
        _("Sold and spent"),
        (
            Column("when", _("When")),
            Column("sold_microcredits", _("Sold"), Unit.MICROCREDITS),
            Column("spent_microcredits", _("Spent"), Unit.MICROCREDITS),
            Column("moved_microcredits", _("All entries"), Unit.MICROCREDITS),
            Column("unspent_microcredits", _("Unspent at its end"), Unit.MICROCREDITS),
        ),
        rows,
        charted=("sold_microcredits", "spent_microcredits"),
    )


def _packages(packages: list[PackageSold]) -> Table:
    return Table(
        "packages",
        _("Sold, by package"),
        (
            Column("package", _("Package")),
            Column("payments", _("Payments"), Unit.COUNT),
            Column("credits_microcredits", _("Credits"), Unit.MICROCREDITS),
            Column("bonus_microcredits", _("Bonus"), Unit.MICROCREDITS),
            Column("amount_minor", _("Money"), Unit.MINOR),
            Column("currency", _("Currency")),
        ),
        [
            {
                "key": sold.name,
                "package": sold.name or _("Other amounts"),
                "payments": sold.payments,
                "credits_microcredits": sold.credits_microcredits,
                "bonus_microcredits": sold.bonus_microcredits,
                "amount_minor": sold.amount_minor,
                "currency": sold.currency.upper(),
            }
            for sold in packages
        ],
        last={
            "key": "all",
            "package": _("Together"),
            "payments": sum(sold.payments for sold in packages),
            "credits_microcredits": sum(sold.credits_microcredits for sold in packages),
            "bonus_microcredits": sum(sold.bonus_microcredits for sold in packages),
        },
    )


def _money(packages: list[PackageSold], paid_back: list[PaidBack], ledger: LedgerOfPeriod) -> Table:
    """By currency, because amounts of two currencies have no sum."""
    taken: dict[str, int] = defaultdict(int)
    returned: dict[str, int] = defaultdict(int)
    for sold in packages:
        taken[sold.currency] += sold.amount_minor
    for refund in paid_back:
        returned[refund.currency] += refund.amount_minor
    rows: list[Row] = []
    for currency in sorted({*taken, *returned}) or [settings.TOPUP_CURRENCY]:
        figures = (
            ("taken", _("Taken"), taken[currency]),
            ("paid_back", _("Paid back by staff"), -returned[currency]),
            ("net", _("Net taken"), taken[currency] - returned[currency]),
        )
        rows += [
            {"key": key, "what": title, "amount_minor": amount, "currency": currency.upper()}
            for key, title, amount in figures
        ]
    one = format_money(1, settings.TOPUP_CURRENCY)
    n = settings.CREDITS_PER_MINOR_UNIT
    price = ngettext("{n} credit for {price}", "{n} credits for {price}", n).format(n=n, price=one)
    last = {
        "key": "owed",
        "what": _("Unspent credits, {price}").format(price=price),
        "amount_minor": owed_minor(ledger.closing_microcredits),
        "currency": settings.TOPUP_CURRENCY.upper(),
    }
    return Table(
        "money",
        _("In money"),
        (Column("what", _("What")), Column("amount_minor", _("Money"), Unit.MINOR), Column("currency", _("Currency"))),
        rows,
        last=last,
        note=_("What the payment provider paid back by itself, or lost in disputes, is among the credits taken back."),
        is_aside=True,
    )


def _models(ledger: LedgerOfPeriod) -> Table:
    spent: dict[str, int] = defaultdict(int)
    for day in usage_of(ledger):
        spent[day.model_key] -= day.amount_microcredits
    return Table(
        "spent_by_model",
        _("Spent, by model"),
        (Column("model", _("Model")), Column("spent_microcredits", _("Credits"), Unit.MICROCREDITS)),
        [{"key": key, "model": key, "spent_microcredits": spent[key]} for key in sorted(spent)],
        last={"key": "all", "model": _("Together"), "spent_microcredits": sum(spent.values())},
        is_aside=True,
    )
