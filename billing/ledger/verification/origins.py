"""The origin of each entry: what `verify_ledger` checks in addition to the sums.

A top-up needs its paid order, a promotion its redemption, an adjustment the person who is responsible for it, and a
refund by staff its request. Everything that people did to money needs its event in the audit log. `inference` checks
the refunds that Tally makes by itself.
"""

from collections.abc import Iterator

from billing.ledger.verification.checks import Window, broken

# Replaces {number in key} in the queries: the UUID after the first colon of a key, such as that of an order, or null.
NUMBER_IN_KEY = r"""CASE WHEN e.idempotency_key ~ '^[a-z-]+:[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}(:\d+)?$'
    THEN split_part(e.idempotency_key, ':', 2)::uuid END"""

RULES: dict[str, str] = {
    "entry {0}: {1}, which is no kind of entry": """
        SELECT e.id, e.kind FROM billing_ledgerentry e WHERE {new entries} AND e.kind NOT IN (
            'top_up', 'bonus', 'promotion', 'usage', 'refund', 'adjustment', 'expiry', 'chargeback')""",
    "entry {0}: {1} of {2} to wallet {3}, which no paid order of its customer says": """
        SELECT e.id, e.kind, e.amount_microcredits, e.wallet_id
        FROM billing_ledgerentry e JOIN billing_wallet w ON w.id = e.wallet_id
        LEFT JOIN billing_topup t ON t.id = {number in key} AND t.user_id = w.user_id AND t.state = 'paid'
            AND (e.kind, e.idempotency_key, e.amount_microcredits) IN (
                ('top_up', 'topup:' || t.id, t.credits_microcredits),
                ('bonus', 'topup-bonus:' || t.id, t.bonus_microcredits))
        WHERE {new entries} AND (e.kind = 'top_up' OR e.idempotency_key LIKE 'topup%:%') AND t.id IS NULL""",
    "entry {0}: chargeback of {1} in wallet {2}, which no order and no debt of its customer says": """
        SELECT e.id, e.amount_microcredits, e.wallet_id
        FROM billing_ledgerentry e JOIN billing_wallet w ON w.id = e.wallet_id
        LEFT JOIN billing_topup t ON t.id = {number in key} AND t.user_id = w.user_id
            AND e.idempotency_key LIKE 'claw-back:%'
        LEFT JOIN billing_debtpayment p ON p.entry_id = e.id AND p.amount_microcredits = -e.amount_microcredits
        WHERE {new entries} AND e.kind = 'chargeback' AND t.id IS NULL AND p.id IS NULL""",
    "entry {0}: promotion of {1} to wallet {2}, which no redemption of a code says": """
        SELECT e.id, e.amount_microcredits, e.wallet_id FROM billing_ledgerentry e
        LEFT JOIN (billing_redemption r JOIN billing_promotioncode c ON c.id = r.code_id)
            ON r.entry_id = e.id AND r.wallet_id = e.wallet_id AND c.credits_microcredits = e.amount_microcredits
            AND e.idempotency_key = format('code:%s:%s:%s', r.code_id, r.wallet_id, r.number)
        WHERE {new entries} AND e.kind = 'promotion' AND r.id IS NULL""",
    "entry {0}: adjustment of {1}, whose author {2}, reason or request is not known": """
        SELECT e.id, e.amount_microcredits, e.created_by_id FROM billing_ledgerentry e
        JOIN billing_wallet w ON w.id = e.wallet_id
        LEFT JOIN billing_adjustment a ON a.entry_id = e.id AND a.state = 'done'
        WHERE {new entries} AND e.kind = 'adjustment' AND (e.reason = '' OR e.created_by_id IS NULL
            OR (a.wallet_id, a.amount_microcredits, a.reason, a.decided_by_id, a.idempotency_key)
                <> (e.wallet_id, e.amount_microcredits, e.reason, e.created_by_id, e.idempotency_key)
            OR NOT EXISTS (SELECT FROM accounts_auditevent v
                WHERE v.subject_id = w.user_id AND v.actor_id = e.created_by_id AND v.action = 'credits adjusted'
                AND v.details ->> 'microcredits' = e.amount_microcredits::text AND v.details ->> 'reason' = e.reason
                -- Before there were requests (docs/adr/0029) the audit log named none.
                AND v.details ->> 'adjustment' IS NOT DISTINCT FROM a.id::text))
            AND NOT (  -- what customers give up who close their account
                e.created_by_id = w.user_id AND e.amount_microcredits < 0
                AND e.idempotency_key = 'closed:' || w.user_id AND EXISTS (SELECT FROM accounts_auditevent v
                    WHERE v.subject_id = w.user_id AND v.actor_id = w.user_id AND v.action = 'account closed'))""",
    "grant {0} of adjustment {1}: it expires at {2}, and was to expire after {3} days": """
        SELECT g.id, a.id, g.expires_at, a.expires_after_days FROM billing_ledgerentry e
        JOIN billing_adjustment a ON a.entry_id = e.id JOIN billing_grant g ON g.entry_id = e.id
        WHERE {new entries} AND e.kind = 'adjustment'
            AND g.expires_at IS DISTINCT FROM a.decided_at + make_interval(days => a.expires_after_days)""",
    "entry {0}: refund of {1} for hold {2} by {3}, which no refund that is done says": """
        SELECT e.id, e.amount_microcredits, e.hold_id, e.created_by_id FROM billing_ledgerentry e
        LEFT JOIN billing_refund r
            ON r.id = {number in key} AND e.idempotency_key = 'refund:' || r.id AND r.state = 'done'
            AND (r.hold_id, r.amount, r.decided_by_id) = (e.hold_id, e.amount_microcredits, e.created_by_id)
        WHERE {new entries} AND e.kind = 'refund' AND r.id IS NULL AND (e.created_by_id IS NOT NULL
            OR e.hold_id IS NULL OR e.idempotency_key LIKE 'refund:%')""",
}


# Finds the rows that have no event in the audit log. The detail `detail` of an event holds the `value` of its row.
WITHOUT_EVENT = """
SELECT {value}, {action}, {actor} FROM {rows} WHERE {where} AND NOT EXISTS (
    SELECT FROM accounts_auditevent v
    WHERE v.action = {action} AND v.actor_id = {actor} AND v.details ->> '{detail}' = {value})"""


def _of_people(what: str, rows: str, value: str, *, action: str, actor: str, where: str = "TRUE") -> tuple[str, str]:
    """Return the sentence and the query of a rule about the rows of one table."""
    query = WITHOUT_EVENT.format(rows=rows, value=value, action=action, actor=actor, where=where, detail=what)
    return f"{what} {{0}}: no “{{1}}” by user {{2}} is in the audit log", query


REFUND = ("refund", "billing_refund r", "r.id::text")
ADJUSTMENT = ("adjustment", "billing_adjustment a", "a.id::text")
AUDIT_RULES: list[tuple[str, str]] = [
    _of_people(*REFUND, action="'refund requested'", actor="r.requested_by_id"),
    _of_people(
        *REFUND,
        action="'refund ' || r.state",
        actor="r.decided_by_id",
        where="r.state IN ('done', 'failed', 'rejected')",
    ),
    _of_people(
        *REFUND,
        action="'refund approved'",
        actor="r.decided_by_id",
        where="r.state IN ('approved', 'done', 'failed') AND r.decided_by_id <> r.requested_by_id",
    ),
    _of_people(
        *ADJUSTMENT,
        action="'adjustment requested'",
        actor="a.requested_by_id",
        where="a.decided_by_id IS DISTINCT FROM a.requested_by_id",
    ),
    _of_people(*REFUND, action="'refund lapsed'", actor="r.requested_by_id", where="r.state = 'lapsed'"),
    _of_people(*ADJUSTMENT, action="'adjustment lapsed'", actor="a.requested_by_id", where="a.state = 'lapsed'"),
    _of_people(*ADJUSTMENT, action="'credits adjusted'", actor="a.decided_by_id", where="a.state = 'done'"),
    _of_people(*ADJUSTMENT, action="'adjustment rejected'", actor="a.decided_by_id", where="a.state = 'rejected'"),
    _of_people(
        "price",
        "billing_price p",
        "p.id::text",
        action="'price added'",
        actor="p.created_by_id",
        where="p.created_by_id IS NOT NULL",
    ),
    (
        "code {0}: no event of the audit log says that user {1} made it",
        """
        SELECT c.code, c.created_by_id FROM billing_promotioncode c
        WHERE c.created_by_id IS NOT NULL
            AND NOT EXISTS (SELECT FROM accounts_auditevent v WHERE v.action = 'code created'
                AND v.actor_id = c.created_by_id AND v.details ->> 'code' = c.code)
            AND NOT EXISTS (SELECT FROM accounts_auditevent v WHERE v.action = 'codes generated'
                AND v.actor_id = c.created_by_id AND v.details ->> 'batch' = NULLIF(c.batch, ''))""",
    ),
    (
        "code {0}: no event of the audit log says that user {1} approved it",
        """
        SELECT c.code, c.approved_by_id FROM billing_promotioncode c
        WHERE c.approved_by_id IS NOT NULL
            AND NOT EXISTS (SELECT FROM accounts_auditevent v WHERE v.action = 'code approved'
                AND v.actor_id = c.approved_by_id AND v.details ->> 'code' = c.code)
            AND NOT EXISTS (SELECT FROM accounts_auditevent v WHERE v.action = 'code approved'
                AND v.actor_id = c.approved_by_id AND v.details ->> 'batch' = NULLIF(c.batch, ''))""",
    ),
]


def find_entries_without_origin(window: Window | None) -> Iterator[str]:
    """A check of `verification`: yield a line for each entry whose origin is missing."""
    for sentence, query in RULES.items():
        yield from broken(sentence, query.replace("{number in key}", NUMBER_IN_KEY), window)


def find_deeds_without_event(window: Window | None) -> Iterator[str]:
    """A check of `verification`: yield a line for each action of a person on money without its audit event."""
    for sentence, query in AUDIT_RULES:
        yield from broken(sentence, query, window)
