"""API keys: making, changing, rotating, revoking and finding them. A key's text is shown once; a hash is stored."""

import hashlib
import secrets
import string
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import Q
from django.utils import timezone
from django.utils.crypto import constant_time_compare
from django.utils.translation import gettext as _

from accounts import audit
from accounts.mail.security_notices import KeyNews, tell_of_key
from accounts.models import ApiKey, User
from core import sql

MARK = "tly_"
PREFIX_LENGTH = 10
SECRET_LENGTH = 43  # of 62 letters and digits: 256 bits
MOST_KEYS = 50
SENT_AGAIN_OVERLAP = timedelta(days=1)  # how long the text goes on that the first answer to a form showed
USED_AGAIN_SECONDS = 60  # `last_used_at` is written at most this often
FIND_KEY = "SELECT {key}, {user} FROM accounts_apikey k JOIN accounts_user u ON u.id = k.user_id WHERE k.prefix = %s"
FIND_REPLACED = (
    "SELECT {key}, {user} FROM accounts_apikey k JOIN accounts_user u ON u.id = k.user_id "
    "WHERE k.replaced_prefix = %s AND k.replaced_until > clock_timestamp()"
)
LISTS = {"scopes", "allowed_models"}
CHANGEABLE = {"name", "monthly_cap_microcredits", "expires_at", *LISTS}
_ALPHABET = string.ascii_letters + string.digits


class KeyEnded(Exception):
    """The key was revoked or has expired, so it cannot be changed."""


class TooManyKeys(Exception):
    """The user has MOST_KEYS live keys; one must be revoked first."""


@transaction.atomic
def create_key(*, user: User, **settings: Any) -> tuple[ApiKey, str]:
    """Make a key and return it with its text, which is stored nowhere. Raises TooManyKeys.

    `settings` are those of CHANGEABLE. If the process dies before the commit, there is no key. If the answer is lost,
    the key exists, but nobody knows its text; it can be revoked like any other.
    """
    User.objects.select_for_update().get(pk=user.pk)  # so that concurrent calls count each other's keys
    if ApiKey.objects.for_user(user).live().count() >= MOST_KEYS:
        raise TooManyKeys(_("You have {most} keys. Revoke one first.").format(most=MOST_KEYS))
    prefix, text = _make_text()
    key = ApiKey.objects.create(user=user, prefix=prefix, secret_hash=_hash(text), **_in_order(settings))
    scopes = " ".join(key.scopes)
    audit.record(actor=user, action="key created", subject=user, key=key.pk, name=key.name, scopes=scopes)
    tell_of_key(user=user, name=key.name, what=KeyNews.MADE)
    return key, text


@transaction.atomic
def create_key_once(*, user: User, form_id: UUID, **settings: Any) -> tuple[ApiKey, str, bool]:
    """Make the one key of a form. Return it, its text, and whether it is new. Raises TooManyKeys or KeyEnded.

    A browser that sends a form twice shows only the last answer. So the second call gives the same key another text;
    the text before goes on for SENT_AGAIN_OVERLAP, for somebody who has kept it.
    """
    User.objects.select_for_update().get(pk=user.pk)
    made = ApiKey.objects.for_user(user).filter(form_id=form_id).first()
    if made is not None:
        change_key(key=made, by=user, **settings)  # what the form said last counts
        return *rotate_key(key=made, by=user, overlap=SENT_AGAIN_OVERLAP), False
    key, text = create_key(user=user, **settings)
    key.form_id = form_id
    key.save(update_fields=["form_id"])
    return key, text, True


@transaction.atomic
def change_key(*, key: ApiKey, by: User, **settings: Any) -> ApiKey:
    """Change a live key, with effect from its next request. `settings` are those of CHANGEABLE. Raises KeyEnded."""
    row = _lock_live(key)
    wanted = _in_order(settings)
    changed = {name: value for name, value in wanted.items() if getattr(row, name) != value}
    for name, value in changed.items():
        setattr(row, name, value)
    if changed:
        row.save(update_fields=[*changed])
        said = {name: str(value) for name, value in changed.items()}
        audit.record(actor=by, action="key changed", subject=row.user, key=row.pk, **said)
    if changed.keys() - {"name"}:  # it may do more now, or spend more
        tell_of_key(user=row.user, name=row.name, what=KeyNews.CHANGED)
    return row


@transaction.atomic
def rotate_key(*, key: ApiKey, by: User, overlap: timedelta) -> tuple[ApiKey, str]:
    """Give a live key a new text and return both; the previous text stays valid for `overlap`. Raises KeyEnded.

    Texts before the previous one are no longer valid. If the answer is lost, nobody knows the new text, and the
    previous one works only for the overlap. Make a new key then: rotating again would end the previous text.
    """
    row = _lock_live(key)
    row.replaced_prefix, row.replaced_hash = row.prefix, row.secret_hash
    row.replaced_until = timezone.now() + overlap
    row.prefix, text = _make_text()
    row.secret_hash = _hash(text)
    row.save(update_fields=["prefix", "secret_hash", "replaced_prefix", "replaced_hash", "replaced_until"])
    until = row.replaced_until.isoformat()
    audit.record(actor=by, action="key rotated", subject=row.user, key=row.pk, name=row.name, until=until)
    tell_of_key(user=row.user, name=row.name, what=KeyNews.ROTATED)
    return row, text


@transaction.atomic
def revoke_key(*, key: ApiKey, by: User) -> None:
    """End a key with immediate effect. A second call changes nothing."""
    if ApiKey.objects.filter(pk=key.pk, revoked_at__isnull=True).update(revoked_at=timezone.now()):
        audit.record(actor=by, action="key revoked", subject=key.user, key=key.pk, name=key.name)
        tell_of_key(user=key.user, name=key.name, what=KeyNews.REVOKED)


def find_key(text: str) -> ApiKey | None:
    """Return the live key with this text, with its user, or None. The hashes are compared in constant time.

    This takes one query. If no key has the prefix, a second query looks for a replaced text that is still valid.
    """
    prefix, _underscore, secret = text.removeprefix(MARK).partition("_")
    if len(prefix) != PREFIX_LENGTH or len(secret) != SECRET_LENGTH or not f"{prefix}{secret}".isascii():
        return None
    key = _read(FIND_KEY, prefix) or _read(FIND_REPLACED, prefix)
    if key is None or not key.is_live:
        return None
    secret_hash = key.secret_hash if key.prefix == prefix else key.replaced_hash
    return key if constant_time_compare(secret_hash, _hash(text)) else None


def _read(statement: str, prefix: str) -> ApiKey | None:
    row = sql.fetch_one(statement.format(key=sql.columns(ApiKey, "k"), user=sql.columns(User, "u")), [prefix])
    if row is None:
        return None
    key = sql.instance(ApiKey, row[: sql.width(ApiKey)])
    key.user = sql.instance(User, row[sql.width(ApiKey) :])
    return key


def _lock_live(key: ApiKey) -> ApiKey:
    row = ApiKey.objects.select_for_update().get(pk=key.pk)
    if not row.is_live:
        raise KeyEnded(_("The key has ended. Make a new one."))
    return row


def _in_order(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings with each list sorted and without duplicates. Raises TypeError for a setting that no key has."""
    if not CHANGEABLE.issuperset(settings):
        raise TypeError(f"a key has no {sorted(set(settings) - CHANGEABLE)}")
    return {name: sorted(set(value)) if name in LISTS else value for name, value in settings.items()}


def _make_text() -> tuple[str, str]:
    """A new prefix, and the whole text of a key with it."""
    prefix, secret = _random(PREFIX_LENGTH), _random(SECRET_LENGTH)
    return prefix, f"{MARK}{prefix}_{secret}"


def note_use(key: ApiKey) -> None:
    """Record that the key was used now. This writes at most once in USED_AGAIN_SECONDS."""
    limit = timezone.now() - timedelta(seconds=USED_AGAIN_SECONDS)
    if key.last_used_at is None or key.last_used_at < limit:
        stale = ApiKey.objects.filter(Q(last_used_at__isnull=True) | Q(last_used_at__lt=limit), pk=key.pk)
        stale.update(last_used_at=timezone.now())


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _random(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _position in range(length))
