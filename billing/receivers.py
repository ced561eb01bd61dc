"""What billing does when something happens to a user."""

from typing import Any

from allauth.account.models import EmailAddress
from allauth.account.signals import email_confirmed
from django.db.models.signals import post_save
from django.dispatch import receiver

from accounts.models import User
from billing import ledger
from billing.topups.bonus_mailboxes import had_bonus, keep_mailbox
from billing.topups.signup_bonus import give_signup_bonus


@receiver(post_save, sender=User, dispatch_uid="billing.open_wallet")
def open_wallet_of_new_user(instance: User, created: bool, raw: bool, **_kwargs: Any) -> None:
    """Give every new user a wallet, in the transaction that creates the user."""
    if created and not raw:
        ledger.open_wallet(user=instance)


@receiver(email_confirmed, dispatch_uid="billing.signup_bonus")
def grant_signup_bonus(email_address: EmailAddress, **_kwargs: Any) -> None:
    """Give the sign-up bonus when the first address is confirmed. An address that is not confirmed gets no bonus."""
    give_signup_bonus(user=email_address.user, email=email_address.email)


@receiver(post_save, sender=EmailAddress, dispatch_uid="billing.keep_mailbox")
def keep_mailbox_of_another_address(instance: EmailAddress, raw: bool, **_kwargs: Any) -> None:
    """Note that a confirmed address has had the bonus if its user has had it by another address."""
    if instance.verified and not raw and had_bonus(user_id=instance.user_id):
        keep_mailbox(email=instance.email)
