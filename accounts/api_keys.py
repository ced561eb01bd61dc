"""API keys: made once, shown once, found by their prefix, compared by their hash."""

import hashlib
import secrets
import string
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Q
from django.utils import timezone
from django.utils.crypto import constant_time_compare
from django.utils.translation import gettext as _

from accounts import audit, sql
from accounts.models import ApiKey, User

MARK = "tly_"
PREFIX_LENGTH = 10
SECRET_LENGTH = 43  # of 62 letters and digits: 256 bits
MOST_KEYS = 50
USED_AGAIN_SECONDS = 60  # `last_used_at` is written at most this often
FIND_KEY = "SELECT {key}, {user} FROM accounts_apikey k JOIN accounts_user u ON u.id = k.user_id WHERE k.prefix = %s"
_ALPHABET = string.ascii_letters + string.digits


class TooManyKeys(Exception):
    """The user has MOST_KEYS live keys; one must be revoked first."""


@transaction.atomic
def create_key(
    *,
    user: User,
    name: str,
    scopes: list[str],
    monthly_cap_microcredits: int | None = None,
    expires_at: datetime | None = None,
) -> tuple[ApiKey, str]:
    """Make a key and return it with its text, which nobody can read again. Raises TooManyKeys.

    If this dies before it commits there is no key; if the answer is lost the key is there, unknown to everybody, and
    is revoked like any other.
    """
    User.objects.select_for_update().get(pk=user.pk)  # two at once: the second sees the first
    if ApiKey.objects.for_user(user).live().count() >= MOST_KEYS:
        raise TooManyKeys(_("You have {most} keys. Revoke one first.").format(most=MOST_KEYS))
    prefix, secret = _random(PREFIX_LENGTH), _random(SECRET_LENGTH)
    text = f"{MARK}{prefix}_{secret}"
    key = ApiKey.objects.create(
        user=user,
        name=name,
        prefix=prefix,
        secret_hash=_hash(text),
        scopes=sorted(set(scopes)),
        monthly_cap_microcredits=monthly_cap_microcredits,
        expires_at=expires_at,
    )
    audit.record(actor=user, action="key created", subject=user, key=key.pk, name=name, scopes=" ".join(key.scopes))
    return key, text


@transaction.atomic
def revoke_key(*, key: ApiKey, by: User) -> None:
    """End a key at once. A second time changes nothing."""
    if ApiKey.objects.filter(pk=key.pk, revoked_at__isnull=True).update(revoked_at=timezone.now()):
        audit.record(actor=by, action="key revoked", subject=key.user, key=key.pk, name=key.name)


def find_key(text: str) -> ApiKey | None:
    """The live key with this text and its user, or None. One query; the hashes are compared in constant time."""
    prefix, _underscore, secret = text.removeprefix(MARK).partition("_")
    if len(prefix) != PREFIX_LENGTH or len(secret) != SECRET_LENGTH or not f"{prefix}{secret}".isascii():
        return None
    row = sql.fetch_one(FIND_KEY.format(key=sql.columns(ApiKey, "k"), user=sql.columns(User, "u")), [prefix])
    if row is None:
        return None
    key = sql.instance(ApiKey, row[: sql.width(ApiKey)])
    key.user = sql.instance(User, row[sql.width(ApiKey) :])
    if not constant_time_compare(key.secret_hash, _hash(text)):
        return None
    return key if key.is_live else None


def note_use(key: ApiKey) -> None:
    """Remember that the key was used now; written at most once in USED_AGAIN_SECONDS."""
    limit = timezone.now() - timedelta(seconds=USED_AGAIN_SECONDS)
    if key.last_used_at is None or key.last_used_at < limit:
        stale = ApiKey.objects.filter(Q(last_used_at__isnull=True) | Q(last_used_at__lt=limit), pk=key.pk)
        stale.update(last_used_at=timezone.now())


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _random(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _position in range(length))
