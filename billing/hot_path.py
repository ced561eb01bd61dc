"""The statements that every paid answer runs, written out in SQL: two for a hold, four for its settlement.

Composing one of these costs the ORM several times what PostgreSQL needs to run it (docs/adr/0010), and every answer
waits for it. All else in billing goes through the ORM. Each function is one statement of the caller's transaction;
those that write want the wallet locked by it.
"""

from datetime import datetime
from uuid import UUID

from django.db import connection

from accounts import sql
from billing.models import Hold, HoldState, LedgerEntry, Wallet
from billing.prices import PriceTag

_Value = str | int | datetime | UUID | None
Part = tuple[int, int]  # the id of a grant, and microcredits of it

LOCK_WALLET = """
SELECT w.id, w.user_id, w.balance_microcredits, w.held_microcredits, w.monthly_cap_microcredits,
    w.armed_alert_microcredits, w.armed_refill_microcredits,
    p.prompt_microcredits_per_token, p.completion_microcredits_per_token
FROM billing_wallet w LEFT JOIN LATERAL (
    SELECT * FROM billing_price WHERE model_key = %s AND effective_at <= %s
    ORDER BY effective_at DESC, id DESC LIMIT 1) p ON TRUE
WHERE w.user_id = %s FOR UPDATE OF w"""

# Nothing is inserted, rather than something wrong, when the wallet is not in its ordinary state.
INSERT_HOLD = """
INSERT INTO billing_hold (id, wallet_id, reference, state, model_key, prompt_microcredits_per_token,
    completion_microcredits_per_token, is_from_cache, prompt_tokens, max_completion_tokens, amount_microcredits,
    created_at, expires_at, api_key_id)
SELECT %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s
WHERE NOT EXISTS (SELECT FROM billing_hold WHERE reference = %s)
  AND NOT EXISTS (SELECT FROM billing_debt WHERE wallet_id = %s AND remaining_microcredits > 0)
  AND NOT EXISTS (SELECT FROM billing_grant
                  WHERE wallet_id = %s AND remaining_microcredits > 0 AND expires_at <= %s)"""

LOCK_HOLD = """
SELECT h.id, h.reference, h.state, h.model_key, h.prompt_microcredits_per_token, h.completion_microcredits_per_token,
    h.prompt_tokens, h.max_completion_tokens, h.amount_microcredits, h.created_at, h.expires_at,
    w.id, w.user_id, w.balance_microcredits, w.held_microcredits, w.monthly_cap_microcredits,
    w.armed_alert_microcredits, w.armed_refill_microcredits
FROM billing_hold h JOIN billing_wallet w ON w.id = h.wallet_id
WHERE h.id = %s FOR UPDATE OF w"""

_WALLET_FIELDS = (
    "id",
    "user_id",
    "balance_microcredits",
    "held_microcredits",
    "monthly_cap_microcredits",
    "armed_alert_microcredits",
    "armed_refill_microcredits",
)
_HOLD_FIELDS = (
    "id",
    "reference",
    "state",
    "model_key",
    "prompt_microcredits_per_token",
    "completion_microcredits_per_token",
    "prompt_tokens",
    "max_completion_tokens",
    "amount_microcredits",
    "created_at",
    "expires_at",
)

_SPENDABLE = """
FROM billing_grant g JOIN billing_ledgerentry e ON e.id = g.entry_id
WHERE g.wallet_id = {wallet} AND g.remaining_microcredits > 0
ORDER BY g.expires_at ASC NULLS LAST, e.kind = 'top_up', g.id"""

SPENDABLE_GRANTS = "SELECT g.id, g.remaining_microcredits" + _SPENDABLE.format(wallet="%s")

SETTLE_HOLD = (
    """
UPDATE billing_hold SET state = %s, completion_tokens = %s, charged_microcredits = %s, closed_at = %s
WHERE id = %s AND state = %s
RETURNING (SELECT COALESCE(SUM(d.remaining_microcredits), 0)::bigint FROM billing_debt d
           WHERE d.wallet_id = billing_hold.wallet_id AND d.remaining_microcredits > 0),
    ARRAY(SELECT ARRAY[g.id, g.remaining_microcredits]"""  # noqa: S608  all of it is ours
    + _SPENDABLE.format(wallet="billing_hold.wallet_id")
    + ")"
)

INSERT_ENTRY = """
INSERT INTO billing_ledgerentry (wallet_id, kind, amount_microcredits, balance_after_microcredits, idempotency_key,
    inputs_hash, hold_id, reason, created_by_id, created_at)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s) RETURNING id"""

# One row; `insert_uses` appends the others.
INSERT_USE = "INSERT INTO billing_grantuse (grant_id, entry_id, amount_microcredits) VALUES (%s, %s, %s)"


def lock_wallet_and_read_price(user_id: int, model_key: str, now: datetime) -> tuple[Wallet, PriceTag | None]:
    """Lock the user's wallet, and read the model's price in effect; None for a model nobody has priced.

    A price never changes, so the one that was in effect when the wait for the lock began is as good as any.
    Raises Wallet.DoesNotExist.
    """
    with connection.cursor() as cursor:
        cursor.execute(LOCK_WALLET, [model_key, now, user_id])
        row = cursor.fetchone()
    if row is None:
        raise Wallet.DoesNotExist(f"user {user_id} has no wallet")
    *of_wallet, prompt_price, completion_price = row
    wallet = Wallet(**dict(zip(_WALLET_FIELDS, of_wallet, strict=True)))
    return wallet, None if prompt_price is None else PriceTag(prompt_price, completion_price)


def insert_hold(hold: Hold) -> bool:
    """Insert an active hold, unless its reference has one, the wallet owes, or credits of it are due to expire.

    The statement begins after the wallet was locked, so it sees all that was decided before. Returns whether it did.
    """
    values: list[_Value] = [
        hold.pk,
        hold.wallet_id,
        hold.reference,
        HoldState.ACTIVE,
        hold.model_key,
        hold.prompt_microcredits_per_token,
        hold.completion_microcredits_per_token,
        hold.is_from_cache,
        hold.prompt_tokens,
        hold.max_completion_tokens,
        hold.amount_microcredits,
        hold.created_at,
        hold.expires_at,
        hold.api_key_id,
    ]
    conditions: list[_Value] = [hold.reference, hold.wallet_id, hold.wallet_id, hold.created_at]
    with connection.cursor() as cursor:
        cursor.execute(INSERT_HOLD, [*values, *conditions])
        return bool(cursor.rowcount)


def lock_wallet_and_read_hold(hold_id: UUID) -> Hold:
    """Lock the hold's wallet and read both. Raises Hold.DoesNotExist.

    The wallet is as it is now. The hold is as it was when the wait for the lock began: `settle_hold` tells.
    """
    with connection.cursor() as cursor:
        cursor.execute(LOCK_HOLD, [hold_id])
        row = cursor.fetchone()
    if row is None:
        raise Hold.DoesNotExist(f"there is no hold {hold_id}")
    of_hold, of_wallet = row[: len(_HOLD_FIELDS)], row[len(_HOLD_FIELDS) :]
    wallet = Wallet(**dict(zip(_WALLET_FIELDS, of_wallet, strict=True)))
    return Hold(**dict(zip(_HOLD_FIELDS, of_hold, strict=True)), wallet=wallet)


def settle_hold(hold: Hold) -> tuple[int, list[Part]] | None:
    """Close an active hold with its charge; what its wallet owes, in microcredits, and `spendable_grants` of it.

    Returns None, and changes nothing, when the hold is not active any more.
    """
    values: list[_Value] = [HoldState.SETTLED, hold.completion_tokens, hold.charged_microcredits, hold.closed_at]
    row = sql.fetch_one(SETTLE_HOLD, [*values, hold.pk, HoldState.ACTIVE])
    if row is None:
        return None
    owed, grants = row
    return owed, [(grant_id, left) for grant_id, left in grants]


def insert_entry(entry: LedgerEntry) -> None:
    """Insert an entry; the database moves the balance. Sets `entry.pk`."""
    values: list[_Value] = [
        entry.wallet_id,
        entry.kind,
        entry.amount_microcredits,
        entry.balance_after_microcredits,
        entry.idempotency_key,
        entry.inputs_hash,
        entry.hold_id,
        entry.reason,
        entry.created_by_id,
        entry.created_at,
    ]
    with connection.cursor() as cursor:
        cursor.execute(INSERT_ENTRY, values)
        entry.pk = cursor.fetchone()[0]


def spendable_grants(wallet_id: int) -> list[Part]:
    """The wallet's unspent grants as (id, microcredits left), in the order of `GrantQuerySet.in_spending_order`."""
    return [(grant_id, left) for grant_id, left in sql.fetch_all(SPENDABLE_GRANTS, [wallet_id])]


def insert_uses(entry_id: int, parts: list[Part]) -> None:
    """Note which grants stand behind an entry, as (id, signed microcredits)."""
    values = [value for grant_id, amount in parts for value in (grant_id, entry_id, amount)]
    with connection.cursor() as cursor:
        cursor.execute(", ".join([INSERT_USE, *["(%s, %s, %s)"] * (len(parts) - 1)]), values)
