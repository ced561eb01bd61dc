"""What an action would do to a wallet, in lines of before, change and after."""

from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext as _

from billing import approvals, ledger
from billing.models import Hold, TopUp, Wallet
from billing.refunds import requests
from billing.templatetags.money import format_credits, money, signed_credits
from core.admin.steps import Line


def wallet_lines(wallet: Wallet, change_microcredits: int) -> tuple[Line, ...]:
    """What becomes of the balance, and of what is free to spend, in credits."""
    change = signed_credits(change_microcredits)
    amounts = (
        (_("Balance, credits"), wallet.balance_microcredits),
        (_("Free to spend, credits"), wallet.available_microcredits),
    )
    return tuple(
        Line(name, format_credits(amount), change, format_credits(amount + change_microcredits))
        for name, amount in amounts
    )


def adjustment_lines(wallet: Wallet, microcredits: int) -> tuple[Line, ...]:
    """What an adjustment does; credits that are given first pay what is owed."""
    owed = ledger.owed_microcredits(wallet=wallet)
    pays = max(0, min(microcredits, owed))
    lines = wallet_lines(wallet, microcredits - pays)
    return (*lines, _owed_line(owed, -pays)) if owed else lines


def refund_lines(amount: int, *, hold: Hold | None = None, topup: TopUp | None = None) -> tuple[Line, ...]:
    """What a refund does: of an answer it gives credits back, of a payment it takes them, and the rest is owed."""
    if topup is None:
        wallet: Wallet = hold.wallet  # type: ignore[union-attr]  # one of both is given
        return adjustment_lines(wallet, amount)
    wallet = topup.user.wallet
    due = requests.credits_taken_back(topup, amount)
    taken = min(due, wallet.available_microcredits)
    lines = wallet_lines(wallet, -taken)
    if due > taken:
        lines = (*lines, _owed_line(ledger.owed_microcredits(wallet=wallet), due - taken))
    after = topup.refunded_minor + amount
    paid = _("{after} of {paid} paid").format(
        after=money(after, topup.currency), paid=money(topup.amount_minor, topup.currency)
    )
    back = Line(
        _("Back to the card"),
        money(topup.refunded_minor, topup.currency),
        f"+{money(amount, topup.currency)}",
        paid,
    )
    return (*lines, back)


def warning_of_approval() -> str:
    """What staff should know of a request that waits for a second person."""
    lapses_at = date_format(timezone.now() + approvals.LAPSES_AFTER, "Y-m-d H:i")
    return _(
        "Nothing moves until a second person agrees. It is looked at again at that moment. Lapses on {at}."
    ).format(at=lapses_at)


def _owed_line(owed: int, change: int) -> Line:
    return Line(_("Owed, credits"), format_credits(owed), signed_credits(change), format_credits(owed + change))
