"""The last lines of reports of money: they compare two ways to the same sum, to the microcredit."""

from django.utils.formats import number_format
from django.utils.translation import gettext as _

from billing.reporting.ledger_days import LedgerOfPeriod, usage_of
from monitoring.reports.tables import Proof
from monitoring.reports.words import show_credits


def prove_balances(ledger: LedgerOfPeriod) -> Proof:
    """Whether the entries of the period are the change of all balances, and those until its end the liability.

    The balances are those of the wallets now, less what has moved since. The database moves them with each entry.
    """
    difference = ledger.difference_microcredits
    at_end = ledger.wallets_microcredits - ledger.later_microcredits
    words = _(
        "The ledger's {entries} entries of the period add up to {moved}; wallets at its start {opening}, at its end"
        " {closing}. All balances now are {wallets}, of which {later} moved since its end."
    )
    return Proof(
        is_good=not difference,
        heading=_heading(difference),
        text=words.format(
            entries=number_format(ledger.entries, force_grouping=True),
            moved=_signed(ledger.moved_microcredits),
            opening=show_credits(ledger.opening_microcredits),
            closing=show_credits(at_end),
            wallets=show_credits(ledger.wallets_microcredits),
            later=_signed(ledger.later_microcredits),
        ),
        figures={
            "entries": ledger.entries,
            "moved_microcredits": ledger.moved_microcredits,
            "opening_microcredits": ledger.opening_microcredits,
            "closing_microcredits": at_end,
            "difference_microcredits": difference,
        },
    )


def prove_usage(ledger: LedgerOfPeriod) -> Proof:
    """Whether tokens times prices are what the entries of usage took from the wallets, and the whole ledger agrees."""
    used = usage_of(ledger)
    priced = sum(day.priced_microcredits for day in used)
    charged = -sum(day.amount_microcredits for day in used)
    difference = (priced - charged) or ledger.difference_microcredits
    words = _(
        "Tokens times prices of {answers} answers are {priced}; the ledger's entries of usage took {charged}. All"
        " balances and all entries of the ledger differ by {other}."
    )
    return Proof(
        is_good=not difference,
        heading=_heading(difference),
        text=words.format(
            answers=number_format(sum(day.entries for day in used), force_grouping=True),
            priced=show_credits(priced),
            charged=show_credits(charged),
            other=show_credits(ledger.difference_microcredits),
        ),
        figures={
            "entries": sum(day.entries for day in used),
            "priced_microcredits": priced,
            "charged_microcredits": charged,
            "difference_microcredits": difference,
        },
    )


def _heading(difference_microcredits: int) -> str:
    amount = show_credits(difference_microcredits)
    if difference_microcredits:
        return _("Not reconciled: difference {amount} credits. Run verify_ledger.").format(amount=amount)
    return _("Reconciled: difference {amount} credits.").format(amount=amount)


def _signed(microcredits: int) -> str:
    return f"{'+' if microcredits > 0 else ''}{show_credits(microcredits)}"
