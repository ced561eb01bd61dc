"""Closing an account: its remaining credits are given up, exactly as many as the customer agreed to."""

from dataclasses import dataclass

from django.db import transaction
from django.utils.translation import gettext as _

from accounts.closing import erase_person
from accounts.models import User
from billing import ledger
from billing.models import Notice, TopUp, TopUpState
from billing.topups.cards import remove_card


class ClosingRefused(Exception):
    """The account cannot be closed now; the message says why. Nothing was changed."""


class ForfeitChanged(ClosingRefused):
    """The credits that would be given up are not as many as the customer agreed to."""

    def __init__(self, *, forfeits_microcredits: int) -> None:
        super().__init__(_("The credits that you would give up have changed. Look again."))
        self.forfeits_microcredits = forfeits_microcredits


@dataclass(frozen=True, slots=True)
class ClosingPlan:
    """What closing would do: the credits that are given up, and the reasons why the account cannot be closed now."""

    forfeits_microcredits: int
    obstacles: list[str]


def plan_closing(*, user: User) -> ClosingPlan:
    """What closing the account would do now. Three queries."""
    wallet = ledger.open_wallet(user=user)
    obstacles = []
    if user.is_staff:
        obstacles.append(_("Staff accounts are closed by a superuser."))
    if wallet.held_microcredits:
        obstacles.append(_("An answer is still running. Wait for it, or stop it."))
    if TopUp.objects.filter(user=user, state=TopUpState.PENDING).exists():
        obstacles.append(_("A payment is still being processed. Wait until it has arrived or failed."))
    return ClosingPlan(wallet.available_microcredits, obstacles)


def close_account(*, user: User, forfeits_microcredits: int) -> None:
    """Give up the remaining credits and erase the person; the ledger keeps the movements under the user's number.

    Raises ForfeitChanged when more or less would be given up than was agreed to, ClosingRefused when there is an
    obstacle, and payments.PaymentError when the provider cannot be told to forget the card. The card and the automatic
    top-up are removed first; everything else is one transaction. If the process dies before that commits, the account
    is still open, but without a card.
    """
    _demand_closable(user, forfeits_microcredits)
    remove_card(user=user)
    with transaction.atomic():
        ledger.lock_wallet(user=user)
        _demand_closable(User.objects.get(pk=user.pk), forfeits_microcredits)
        if forfeits_microcredits:
            ledger.adjust(
                user=user,
                amount_microcredits=-forfeits_microcredits,
                idempotency_key=f"closed:{user.pk}",
                reason="given up when the account was closed",
                by=user,
            )
        Notice.objects.filter(user=user).delete()
        erase_person(user=user)


def _demand_closable(user: User, forfeits_microcredits: int) -> None:
    plan = plan_closing(user=user)
    if not user.is_active:
        raise ClosingRefused(_("This account was closed already."))
    if plan.obstacles:
        raise ClosingRefused(plan.obstacles[0])
    if plan.forfeits_microcredits != forfeits_microcredits:
        raise ForfeitChanged(forfeits_microcredits=plan.forfeits_microcredits)
