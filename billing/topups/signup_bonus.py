"""The sign-up bonus: once in the life of an account, and once for each mailbox."""

from datetime import timedelta

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from accounts.models import User
from billing import ledger
from billing.models import EntryKind, LedgerEntry
from billing.topups import bonus_mailboxes


@transaction.atomic
def give_signup_bonus(*, user: User, email: str) -> LedgerEntry | None:
    """Grant the sign-up bonus for a confirmed address: once for the account, and once for the mailbox.

    Returns the entry, also when it was written before. Returns None if the mailbox had the bonus before, by another
    account or in another spelling, and if the settings give no bonus.
    """
    key = bonus_mailboxes.bonus_key(user.pk)
    given = LedgerEntry.objects.filter(idempotency_key=key).first()
    if given is not None or not settings.SIGNUP_BONUS_MICROCREDITS:
        return given
    if not bonus_mailboxes.keep_mailbox(email=email):
        return None
    return ledger.grant(
        user=user,
        kind=EntryKind.BONUS,
        amount_microcredits=settings.SIGNUP_BONUS_MICROCREDITS,
        idempotency_key=key,
        reason="sign-up bonus",
        expires_at=timezone.now() + timedelta(days=settings.SIGNUP_BONUS_DAYS),
    )
