"""Closing an account: its remaining credits are given up, exactly as many as the customer agreed to.

Through the API it is closed at once. On the pages it closes after COOLING_OFF, until which its owner may keep it.
"""

import logging
from dataclasses import dataclass
from datetime import timedelta

from django.db import transaction
from django.db.models import QuerySet
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts import audit
from accounts.closing import erase_person
from accounts.login.sessions import revoke_sessions
from accounts.mail import security_notices
from accounts.models import User
from billing import ledger
from billing.models import Notice, TopUp, TopUpState
from billing.topups import automatic
from billing.topups.cards import remove_card
from billing.topups.payments import PaymentError

logger = logging.getLogger(__name__)

COOLING_OFF = timedelta(days=7)


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


def close_account(*, user: User, forfeits_microcredits: int, only_if_due: bool = False) -> None:
    """Give up the remaining credits and erase the person; the ledger keeps the movements under the user's number.

    Raises ForfeitChanged when more or less would be given up than was agreed to, ClosingRefused when there is an
    obstacle, and payments.PaymentError when the provider cannot be told to forget the card. The card and the automatic
    top-up are removed first; everything else is one transaction. If the process dies before that commits, the account
    is still open, but without a card. `only_if_due` refuses an account whose owner decided to keep it meanwhile.
    """
    due = User.objects.filter(closes_at__lte=Now()) if only_if_due else User.objects.all()
    _demand_closable(_demand(due, user), forfeits_microcredits)
    remove_card(user=user)
    with transaction.atomic():
        ledger.lock_wallet(user=user)
        _demand_closable(_demand(due, user), forfeits_microcredits)
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


@transaction.atomic
def request_closing(*, user: User, forfeits_microcredits: int) -> User:
    """Let an account close after COOLING_OFF. Keys and tokens open nothing from now on. Return the user.

    A second call changes nothing. Raises ForfeitChanged and ClosingRefused as `close_account` does.
    """
    ledger.lock_wallet(user=user)
    row = User.objects.select_for_update(no_key=True).get(pk=user.pk)
    if row.closes_at is not None:
        return row
    _demand_closable(row, forfeits_microcredits)
    row.closes_at = timezone.now() + COOLING_OFF
    row.gives_up_microcredits = forfeits_microcredits
    row.save(update_fields=["closes_at", "gives_up_microcredits"])
    revoke_sessions(user=row)
    automatic.turn_off(user=row)
    audit.record(actor=row, action="closing asked for", subject=row, closes_at=row.closes_at.isoformat())
    security_notices.tell_of_closing(user=row)
    return row


@transaction.atomic
def keep_account(*, user: User) -> bool:
    """Undo `request_closing`; return whether there was something to undo. Keys work again; log-ins stay ended.

    An account that is being closed at this moment has the lock of its wallet: then there is nothing to undo any more.
    """
    ledger.lock_wallet(user=user)
    kept = User.objects.filter(pk=user.pk, closes_at__isnull=False, is_active=True)
    if not kept.update(closes_at=None, gives_up_microcredits=None):
        return False
    audit.record(actor=user, action="account kept", subject=user)
    security_notices.tell_of_keeping(user=user)
    return True


def close_due_accounts() -> int:
    """Close the accounts whose cooling-off is over; return how many.

    One that an obstacle keeps open is tried again at the next call. One that has more credits than its owner agreed to
    give up, since a refund came in, is not closed: its owner is told.
    """
    closed = 0
    for user in User.objects.filter(closes_at__lte=Now(), is_active=True):
        try:
            closed += _close_if_agreed(user)
        except (ClosingRefused, PaymentError) as error:
            logger.warning("the account of user %d is not closed yet: %s", user.pk, error)
    return closed


def _close_if_agreed(user: User) -> bool:
    forfeits = plan_closing(user=user).forfeits_microcredits
    if forfeits > (user.gives_up_microcredits or 0):
        keep_account(user=user)
        return False
    close_account(user=user, forfeits_microcredits=forfeits, only_if_due=True)
    return True


def _demand(users: QuerySet[User], user: User) -> User:
    """This user as the database has it now. Raises ClosingRefused if it is not among these."""
    found = users.filter(pk=user.pk).first()
    if found is None:
        raise ClosingRefused(_("The account is kept."))
    return found


def _demand_closable(user: User, forfeits_microcredits: int) -> None:
    plan = plan_closing(user=user)
    if not user.is_active:
        raise ClosingRefused(_("This account was closed already."))
    if plan.obstacles:
        raise ClosingRefused(plan.obstacles[0])
    if plan.forfeits_microcredits != forfeits_microcredits:
        raise ForfeitChanged(forfeits_microcredits=plan.forfeits_microcredits)
