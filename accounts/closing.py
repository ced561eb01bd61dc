"""Closing an account: the personal data is erased; what the person paid and spent stays, under the user's number.

The signal `account_closing` is sent inside the transaction, with `user`; each app then erases its personal data.
The ledger, payments and the audit log are kept as bookkeeping, and no longer name anybody.
"""

from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.usersessions.models import UserSession
from django.contrib.admin.models import LogEntry
from django.contrib.contenttypes.models import ContentType
from django.core.mail import send_mail
from django.db.models import QuerySet
from django.dispatch import Signal
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts import audit
from accounts.models import ApiKey, ApiSession, OutgoingMail, User

account_closing = Signal()


def erase_person(*, user: User) -> None:
    """Replace name and address, end all keys and log-ins, and send `account_closing`. Call it in a transaction.

    The caller must hold the wallet's lock, because every other writer takes that lock before it changes the user.
    """
    email, now = user.email, timezone.now()
    account_closing.send(sender=User, user=user)
    addresses = EmailAddress.objects.filter(user=user)
    _forget_in_admin_log(user, addresses)
    verified = addresses.filter(verified=True)  # an unverified address may be another person's
    OutgoingMail.objects.to_any_of([email, *verified.values_list("email", flat=True)]).delete()
    addresses.delete()
    ApiKey.objects.filter(user=user, revoked_at__isnull=True).update(revoked_at=now)
    ApiKey.objects.filter(user=user).update(name="deleted")
    ApiSession.objects.filter(user=user, revoked_at__isnull=True).update(revoked_at=now)
    ApiSession.objects.filter(user=user).update(address=None, user_agent="")
    UserSession.objects.filter(user=user).delete()
    Authenticator.objects.filter(user=user).delete()
    user.archives.all().delete()
    user.closes_at = user.gives_up_microcredits = None
    user.email, user.first_name, user.last_name = f"deleted-{user.pk}@deleted.invalid", "", ""
    user.is_active = False
    user.set_unusable_password()
    user.save()
    audit.record(actor=user, action="account closed", subject=user)
    _say_goodbye(email)


def _forget_in_admin_log(user: User, addresses: QuerySet[EmailAddress]) -> None:
    """Erase the e-mail addresses in the admin's log, which names each user and address that staff changed."""
    for kind, ids in ((User, [user.pk]), (EmailAddress, list(addresses.values_list("pk", flat=True)))):
        content_type = ContentType.objects.get_for_model(kind)
        of_them = LogEntry.objects.filter(content_type=content_type, object_id__in=[str(number) for number in ids])
        of_them.update(object_repr="deleted", change_message="")


def _say_goodbye(email: str) -> None:
    """Send a last mail. Its row is the only one left with the address, until it is purged with the other old mails."""
    send_mail(
        _("Your account was closed"),
        _("Your account at Tally was closed, as you asked. If it was not you, answer this mail."),
        None,
        [email],
    )
