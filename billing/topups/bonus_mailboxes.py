"""Which mailbox an address leads to, and which mailboxes had the sign-up bonus.

A mailbox has many spellings: mail to `Ann+shop@Gmail.com` and to `a.nn@googlemail.com` arrives in the same mailbox.
Only a keyed hash of the mailbox is stored (`BonusMailbox`), without a user, so that it may outlive the account.

A person with many mailboxes still gets many bonuses. We cannot tell that all addresses of a private domain, or of a
service that makes up addresses, lead to one person.
"""

import re
from collections.abc import Iterator
from typing import Any

from allauth.account.models import EmailAddress
from django.conf import settings
from django.db.models import QuerySet
from django.utils.crypto import salted_hmac

from accounts.models import User
from billing.models import BonusMailbox, LedgerEntry

CHUNK_ADDRESSES = 1000
SHOWN_USERS = 10  # named in the line of the check
GMAIL = {"gmail.com", "googlemail.com"}  # one service under two names, where dots do not count
PROTON = {"pm.me", "proton.me", "protonmail.com"}  # one service under three names, where . - and _ do not count
# At Yahoo a hyphen always begins the tag of a disposable address (name-tag@). Rule and domains are from validator.js.
# Everywhere else a hyphen is a part of the name (anna-lena@), and is kept.
YAHOO = {
    "rocketmail.com",
    "yahoo.ca",
    "yahoo.co.uk",
    "yahoo.com",
    "yahoo.de",
    "yahoo.fr",
    "yahoo.in",
    "yahoo.it",
    "ymail.com",
}


def bonus_key(user_id: int) -> str:
    """The idempotency key of a user's sign-up bonus."""
    return f"signup-bonus:{user_id}"


def mailbox_of(email: str) -> str:
    """One spelling for all addresses that lead to the same mailbox.

    Lower case; the domain in its ASCII form; without quotes around the name; without a `+tag`, whatever the domain.
    """
    name, _at, domain = email.strip().lower().rpartition("@")
    domain = _ascii_domain(domain)
    if name.startswith('"') and name.endswith('"'):
        name = name[1:-1].replace("\\", "")
    name = _before(name, "+")
    if domain in YAHOO:
        name = _before(name, "-")
    if domain in PROTON:
        name, domain = re.sub("[-._]", "", name), "proton.me"
    if domain in GMAIL:
        name, domain = name.replace(".", ""), "gmail.com"
    return f"{name}@{domain}"


def hash_mailbox(email: str) -> str:
    """The HMAC-SHA256 of the address's mailbox, in hexadecimal, with a key derived from MAILBOX_SECRET."""
    secret = settings.MAILBOX_SECRET or settings.SECRET_KEY
    return salted_hmac("billing.mailboxes", mailbox_of(email), secret=secret, algorithm="sha256").hexdigest()


def keep_mailbox(*, email: str) -> bool:
    """Note that the address's mailbox has had the bonus; return True the first time, False after that.

    Of two simultaneous transactions, the second waits for the first one to end.
    """
    return BonusMailbox.objects.get_or_create(mailbox_hash=hash_mailbox(email))[1]


def had_bonus(*, user_id: int) -> bool:
    """Whether the account had the sign-up bonus itself."""
    return LedgerEntry.objects.filter(idempotency_key=bonus_key(user_id)).exists()


def was_here_before(*, user: User) -> bool:
    """Whether another account had the bonus with this user's mailbox, even if closed or in another spelling."""
    return not had_bonus(user_id=user.pk) and BonusMailbox.objects.filter(pk=hash_mailbox(user.email)).exists()


def hashes_of_bonuses(addresses: QuerySet[Any], entries: QuerySet[Any]) -> Iterator[dict[str, int]]:
    """Yield the mailboxes of all users who had the bonus, in chunks: the hash of each with the user's id.

    `addresses` and `entries` are all rows of `EmailAddress` and `LedgerEntry`; a migration passes its own models. Only
    confirmed addresses count. Two queries a chunk.
    """
    confirmed = addresses.filter(verified=True).order_by("pk").values_list("pk", "user_id", "email")
    after = 0
    while chunk := list(confirmed.filter(pk__gt=after)[:CHUNK_ADDRESSES]):
        keys = {bonus_key(user_id) for _pk, user_id, _email in chunk}
        given = set(entries.filter(idempotency_key__in=keys).values_list("idempotency_key", flat=True))
        yield {hash_mailbox(email): user_id for _pk, user_id, email in chunk if bonus_key(user_id) in given}
        after = chunk[-1][0]


def find_bonuses_without_mailbox(window: object = None) -> Iterator[str]:
    """A check of `verification`: each confirmed address of a user who had the bonus is stored as a hash.

    Yields one line at most, because after a change of MAILBOX_SECRET the check fails for all users. Saving an address
    again stores its hash.
    """
    if window is not None:  # it reads all customers, so only the nightly proof runs it
        return
    found: set[int] = set()
    for hashes in hashes_of_bonuses(EmailAddress.objects.all(), LedgerEntry.objects.all()):
        kept = set(BonusMailbox.objects.filter(pk__in=hashes).values_list("pk", flat=True))
        found |= {user_id for each, user_id in hashes.items() if each not in kept}
    if found:
        yield (
            f"users {sorted(found)[:SHOWN_USERS]}, {len(found)} in all: had the sign-up bonus, and their mailboxes may "
            "have it again, for they are not kept, or with another MAILBOX_SECRET"
        )


def _before(name: str, mark: str) -> str:
    """Return what stands before the first mark; a name that begins with the mark stays whole."""
    return name.partition(mark)[0] or name


def _ascii_domain(domain: str) -> str:
    """Return the domain in its ASCII form, as in the DNS; a domain without such a form stays as it is."""
    domain = domain.rstrip(".")
    try:
        return domain.encode("idna").decode()
    except UnicodeError:
        return domain
