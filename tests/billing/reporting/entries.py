"""Entries for tests of what customers read: each by the ledger, or very many by the database."""

from unittest import mock

from django.db import connection
from django.utils import timezone

from billing import ledger
from billing.models import EntryKind
from tests.billing.holds import open_hold
from tests.support.cast import CREDIT
from tests.support.databases.owner import as_owner


def credit(user, reason, kind=EntryKind.PROMOTION, amount=CREDIT, at=None):
    """A credit with this reason, entered at this moment."""
    with mock.patch("django.utils.timezone.now", return_value=at or timezone.now()):
        return ledger.grant(
            user=user, kind=kind, amount_microcredits=amount, idempotency_key=f"test:{reason}:{at}", reason=reason
        )


def use(user, completion_tokens=3, **kwargs):
    hold = ledger.settle(hold_id=open_hold(user, **kwargs).pk, completion_tokens=completion_tokens)
    return hold.entries.get()


def insert_entries(user, count):
    """Entries of this user, inserted by the database with the walls down, for tests that only read them."""
    with connection.cursor() as cursor:
        as_owner("SET session_replication_role = replica")
        cursor.execute(
            """INSERT INTO billing_ledgerentry (wallet_id, kind, amount_microcredits, balance_after_microcredits,
                   idempotency_key, inputs_hash, reason, created_at)
               SELECT %s, 'bonus', n + 1, n, 'long:' || n, repeat('0', 64),
                   'one of very many, number ' || n || ', with some words to weigh something', now()
               FROM generate_series(0, %s - 1) n""",
            [user.wallet.pk, count],
        )
        as_owner("SET session_replication_role = DEFAULT")
        as_owner("ANALYZE billing_ledgerentry")
