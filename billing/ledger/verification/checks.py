"""The checks of the proof: does every microcredit add up? Other apps add their own checks with `register_check`.

A proof checks everything, or only what is new since an earlier proof (`Window`). Checking only what is new is as good,
by induction, as long as nobody bypassed the walls. `proofs` stores the results and decides where the next proof begins.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db import connection

from billing.models import CONTRA_ACCOUNTS, LedgerEntry

# The SQL conditions that replace {new …} in a query when a proof checks only what is new.
NEW = {
    "new entries": "e.id > {entry}",
    "new holds": "h.created_at >= {opened}",
    "new wallets": "w.id IN (SELECT n.wallet_id FROM billing_ledgerentry n WHERE n.id > {entry})",
    "new grants": "g.id IN (SELECT n.grant_id FROM billing_grantuse n WHERE n.entry_id > {entry}"
    " UNION SELECT n.id FROM billing_grant n WHERE n.entry_id > {entry})",
    "new refunds": "r.decided_at >= {proven at}",
    "proven at": "{proven at}",
}


@dataclass(frozen=True, slots=True)
class Window:
    """What a proof checks: the entries after `after_entry`, and what happened since `proven_at`.

    A hold belongs to the window if it may have been open at `proven_at`: a hold is normally open for
    HOLD_LIFETIME_SECONDS at most. Later changes of an older hold appear as entries, or the nightly proof finds them.
    """

    after_entry: int
    proven_at: datetime

    def narrow(self, query: str) -> str:
        """Return the query restricted to what is new."""
        opened = self.proven_at - timedelta(seconds=settings.HOLD_LIFETIME_SECONDS)
        values = {"entry": str(self.after_entry), "opened": f"'{opened.isoformat()}'"}
        values["proven at"] = f"'{self.proven_at.isoformat()}'"
        for names in (NEW, values):
            for name, text in names.items():
                query = query.replace(f"{{{name}}}", text)
        return query


def about_everything(query: str) -> str:
    """Return the query without a restriction to what is new."""
    for name in NEW:
        query = query.replace(f"{{{name}}}", "TRUE")
    return query


Check = Callable[[Window | None], Iterator[str]]
CHECKS: list[Check] = []

# Each query returns the rows that break one rule; their columns fill the sentence that is its key. In a proof of a
# window, queries with {new …} check only what is new. The other queries read tables that stay small.
RULES: dict[str, str] = {
    "wallet {0}: {1} held, active holds sum to {2}": """
        SELECT w.id, w.held_microcredits, COALESCE(SUM(h.amount_microcredits), 0)
        FROM billing_wallet w LEFT JOIN billing_hold h ON h.wallet_id = w.id AND h.state = 'active'
        GROUP BY w.id HAVING w.held_microcredits <> COALESCE(SUM(h.amount_microcredits), 0)""",
    "hold {0}: settled for {1}, its usage entries sum to {2}": """
        SELECT h.id, h.charged_microcredits, COALESCE(-SUM(e.amount_microcredits), 0)
        FROM billing_hold h LEFT JOIN billing_ledgerentry e ON e.hold_id = h.id AND e.kind = 'usage'
        WHERE h.state = 'settled' AND {new holds}
        GROUP BY h.id HAVING h.charged_microcredits <> COALESCE(-SUM(e.amount_microcredits), 0)""",
    "entry {0}: usage of {1} for hold {2}, which is {3}": """
        SELECT e.id, -e.amount_microcredits, h.id, h.state FROM billing_ledgerentry e
        JOIN billing_hold h ON h.id = e.hold_id
        WHERE {new entries} AND e.kind = 'usage' AND (h.state <> 'settled' OR h.wallet_id <> e.wallet_id)""",
    "entry {0}: {1}, its grant and uses sum to {2}": """
        SELECT e.id, e.amount_microcredits,
               COALESCE(MAX(g.amount_microcredits), 0) + COALESCE(SUM(u.amount_microcredits), 0)
        FROM billing_ledgerentry e LEFT JOIN billing_grant g ON g.entry_id = e.id
        LEFT JOIN billing_grantuse u ON u.entry_id = e.id
        WHERE {new entries} GROUP BY e.id HAVING e.amount_microcredits
            <> COALESCE(MAX(g.amount_microcredits), 0) + COALESCE(SUM(u.amount_microcredits), 0)""",
    "grant {0}: {1} left, its amount and uses leave {2}": """
        SELECT g.id, g.remaining_microcredits, g.amount_microcredits + COALESCE(SUM(u.amount_microcredits), 0)
        FROM billing_grant g LEFT JOIN billing_grantuse u ON u.grant_id = g.id
        WHERE {new grants} GROUP BY g.id HAVING g.remaining_microcredits
            <> g.amount_microcredits + COALESCE(SUM(u.amount_microcredits), 0)""",
    "wallet {0}: balance {1}, its grants have {2} left": """
        SELECT w.id, w.balance_microcredits, COALESCE(SUM(g.remaining_microcredits), 0)
        FROM billing_wallet w LEFT JOIN billing_grant g ON g.wallet_id = w.id AND g.remaining_microcredits > 0
        WHERE {new wallets}
        GROUP BY w.id HAVING w.balance_microcredits <> COALESCE(SUM(g.remaining_microcredits), 0)""",
    "hold {0}: charged {1}, refunded {2}": """
        SELECT h.id, h.charged_microcredits, SUM(e.amount_microcredits)
        FROM billing_hold h JOIN billing_ledgerentry e ON e.hold_id = h.id AND e.kind = 'refund'
        WHERE h.id IN (
            SELECT e.hold_id FROM billing_ledgerentry e WHERE {new entries} AND e.kind = 'refund')
        GROUP BY h.id HAVING SUM(e.amount_microcredits) > COALESCE(h.charged_microcredits, 0)""",
    "hold {0}: {1}, though an answer from the cache is charged in the transaction that holds it": """
        SELECT h.id, h.state FROM billing_hold h WHERE {new holds} AND h.is_from_cache AND h.state <> 'settled'""",
    "hold {0}: from the cache for {1} and {2} a token, the prices then were {3} and {4}": """
        SELECT h.id, h.prompt_microcredits_per_token, h.completion_microcredits_per_token,
               prices.prompt, prices.completion
        FROM billing_hold h CROSS JOIN LATERAL (
            SELECT MAX(p.prompt_microcredits_per_token) AS prompt,
                   MAX(p.completion_microcredits_per_token) AS completion
            FROM billing_price p WHERE p.model_key = h.model_key
                AND p.effective_at <= h.created_at + interval '1 minute'
                AND NOT EXISTS (SELECT FROM billing_price n WHERE n.model_key = p.model_key
                    AND n.effective_at > p.effective_at
                    AND GREATEST(n.effective_at, n.created_at) < h.created_at - interval '1 minute')) prices
        WHERE {new holds} AND h.is_from_cache AND (prices.prompt IS NULL
            OR h.prompt_microcredits_per_token > prices.prompt
            OR h.completion_microcredits_per_token > prices.completion)""",
    # The minute: a hold may wait for its wallet's lock while a new price begins. A price begins when its row is
    # created, if that is later than effective_at.
    "hold {0}: for {1} and {2} a token of {3}, which was no price of it then": """
        SELECT h.id, h.prompt_microcredits_per_token, h.completion_microcredits_per_token, h.model_key
        FROM billing_hold h WHERE {new holds} AND NOT h.is_from_cache AND NOT EXISTS (
            SELECT FROM billing_price p WHERE p.model_key = h.model_key
                AND p.prompt_microcredits_per_token = h.prompt_microcredits_per_token
                AND p.completion_microcredits_per_token = h.completion_microcredits_per_token
                AND p.effective_at <= h.created_at + interval '1 minute'
                AND NOT EXISTS (SELECT FROM billing_price n WHERE n.model_key = p.model_key
                    AND n.effective_at > p.effective_at
                    AND GREATEST(n.effective_at, n.created_at) < h.created_at - interval '1 minute'))""",
    "debt {0}: {1} left, its amount and payments leave {2}": """
        SELECT d.id, d.remaining_microcredits, d.amount_microcredits - COALESCE(SUM(p.amount_microcredits), 0)
        FROM billing_debt d LEFT JOIN billing_debtpayment p ON p.debt_id = d.id
        GROUP BY d.id HAVING d.remaining_microcredits
            <> d.amount_microcredits - COALESCE(SUM(p.amount_microcredits), 0)""",
    "user {0}: automatic top-ups of {1} came to {2}, the ceiling was {3}": """
        SELECT user_id, to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM') AS month,
               SUM(amount_minor), MAX(automatic_ceiling_minor)
        FROM billing_topup WHERE automatic_ceiling_minor IS NOT NULL AND state IN ('created', 'pending', 'paid')
        GROUP BY user_id, month, currency HAVING SUM(amount_minor) > MAX(automatic_ceiling_minor)""",
    "top-up {0}: {1} taken back, its refunds and disputes ask for {2}": """
        SELECT id, clawed_back_microcredits, wanted FROM (
            SELECT id, clawed_back_microcredits,
                   (credits_microcredits + bonus_microcredits)::numeric
                   * LEAST(refunded_minor + disputed_minor, amount_minor) / amount_minor AS wanted
            FROM billing_topup) t WHERE clawed_back_microcredits <> floor(wanted)""",
    "top-up {0}: {1} refunded, our own refunds that are done sum to {2}": """
        SELECT t.id, t.refunded_minor, SUM(r.amount)
        FROM billing_topup t JOIN billing_refund r ON r.topup_id = t.id AND r.state = 'done'
        GROUP BY t.id HAVING SUM(r.amount) > t.refunded_minor""",
    "refund {0}: {1}, of {2}, its entries sum to {3}": """
        SELECT r.id, r.state, r.amount, COALESCE(SUM(e.amount_microcredits), 0)
        FROM billing_refund r LEFT JOIN billing_ledgerentry e ON e.idempotency_key = 'refund:' || r.id
        WHERE {new refunds} GROUP BY r.id HAVING COALESCE(SUM(e.amount_microcredits), 0)
            <> CASE WHEN r.hold_id IS NOT NULL AND r.state = 'done' THEN r.amount ELSE 0 END""",
    "code {0}: {1} redemptions counted, there are {2}": """
        SELECT c.code, c.redemptions_count, COUNT(r.id) FROM billing_promotioncode c
        LEFT JOIN billing_redemption r ON r.code_id = c.id GROUP BY c.id HAVING c.redemptions_count <> COUNT(r.id)""",
    "hold {0}: still active {1} after it expired": """
        SELECT id, now() - expires_at FROM billing_hold
        WHERE state = 'active' AND expires_at < now() - interval '10 minutes'""",
}
# Rules that need all rows ever written, for the nightly proof of everything. In a proof of a window, SINCE_LAST takes
# their place: it checks that what is new follows from what was proven.
AT_NIGHT: dict[str, str] = {
    "entry {0}: its hash does not follow from the one before it": """
        SELECT id FROM (
            SELECT e.id, e.chain_hash, billing_entry_hash(
                LAG(e.chain_hash) OVER (PARTITION BY e.wallet_id ORDER BY e.id), e) AS due
            FROM billing_ledgerentry e) chain WHERE chain_hash IS DISTINCT FROM due""",
    "wallet {0}: balance {1}, entries sum to {2}": """
        SELECT w.id, w.balance_microcredits, COALESCE(SUM(e.amount_microcredits), 0)
        FROM billing_wallet w LEFT JOIN billing_ledgerentry e ON e.wallet_id = w.id
        GROUP BY w.id HAVING w.balance_microcredits <> COALESCE(SUM(e.amount_microcredits), 0)""",
    "entry {0}: balance after is {1}, the entries up to it sum to {2}": """
        SELECT id, balance_after_microcredits, running FROM (
            SELECT id, balance_after_microcredits,
                   SUM(amount_microcredits) OVER (PARTITION BY wallet_id ORDER BY id) AS running
            FROM billing_ledgerentry) e WHERE balance_after_microcredits <> running""",
    "top-up {0}: {1}, worth {2}, credited {3}": """
        WITH credited AS (
            SELECT split_part(idempotency_key, ':', 2) AS topup, SUM(amount_microcredits) AS total
            FROM billing_ledgerentry WHERE idempotency_key LIKE 'topup%:%' GROUP BY 1)
        SELECT t.id, t.state, t.credits_microcredits + t.bonus_microcredits, COALESCE(c.total, 0)
        FROM billing_topup t FULL JOIN credited c ON c.topup = t.id::text
        WHERE t.id IS NULL OR COALESCE(c.total, 0)
            <> CASE t.state WHEN 'paid' THEN t.credits_microcredits + t.bonus_microcredits ELSE 0 END""",
    "top-up {0}: {1} taken back, its entries and debts say {2}": """
        WITH taken AS (
            SELECT split_part(idempotency_key, ':', 2) AS topup, -SUM(amount_microcredits) AS total
            FROM billing_ledgerentry WHERE idempotency_key LIKE 'claw-back:%' GROUP BY 1
            UNION ALL
            SELECT topup_id::text, SUM(amount_microcredits) FROM billing_debt GROUP BY 1
            UNION ALL
            SELECT d.topup_id::text, -SUM(p.amount_microcredits)
            FROM billing_debtpayment p JOIN billing_debt d ON d.id = p.debt_id WHERE p.entry_id IS NULL GROUP BY 1)
        SELECT t.id, t.clawed_back_microcredits, COALESCE(SUM(k.total), 0)
        FROM billing_topup t LEFT JOIN taken k ON k.topup = t.id::text
        GROUP BY t.id HAVING t.clawed_back_microcredits <> COALESCE(SUM(k.total), 0)""",
    "wallet {0}: {1} counted as spent in a month, the charges and refunds up to then say {2}": """
        SELECT p.wallet_id, p.counted_microcredits, COALESCE(-SUM(e.amount_microcredits), 0)
        FROM billing_spendingpreferences p
        LEFT JOIN (billing_ledgerentry e JOIN billing_hold h ON h.id = e.hold_id AND e.kind IN ('usage', 'refund'))
            ON e.wallet_id = p.wallet_id AND e.id <= p.counted_entry_id
            AND h.closed_at >= p.counted_month::timestamp AT TIME ZONE 'UTC'
        WHERE p.counted_month IS NOT NULL
        GROUP BY p.wallet_id, p.counted_microcredits
        HAVING p.counted_microcredits <> COALESCE(-SUM(e.amount_microcredits), 0)""",
    "wallet {0}: {2} answers of {1} summed for {3}, there are {4} for {5}": """
        WITH summed AS (
            SELECT wallet_id, day, SUM(answers_count) AS answers, SUM(charged_microcredits) AS charged
            FROM billing_usageday GROUP BY 1, 2),
        used AS (
            SELECT wallet_id, (created_at AT TIME ZONE 'UTC')::date AS day, COUNT(*) AS answers,
                   -SUM(amount_microcredits) AS charged
            FROM billing_ledgerentry
            WHERE kind = 'usage' AND id <= (SELECT last_entry FROM billing_usagemark) GROUP BY 1, 2)
        SELECT wallet_id, day, COALESCE(summed.answers, 0), COALESCE(summed.charged, 0),
               COALESCE(used.answers, 0), COALESCE(used.charged, 0)
        FROM summed FULL JOIN used USING (wallet_id, day)
        WHERE (summed.answers, summed.charged) IS DISTINCT FROM (used.answers, used.charged)""",
    "day {0} of the reports: {2} entries of {1} summed for {3}, there are {4} for {5}": """
        WITH mark AS (SELECT last_entry, time_zone FROM billing_ledgerdaysmark),
        summed AS (
            SELECT day, kind, SUM(entries_count) AS entries, SUM(amount_microcredits) AS amount
            FROM billing_ledgerday GROUP BY 1, 2),
        there AS (
            SELECT (created_at AT TIME ZONE time_zone)::date AS day, kind, COUNT(*) AS entries,
                   SUM(amount_microcredits) AS amount
            FROM billing_ledgerentry JOIN mark ON id <= last_entry GROUP BY 1, 2)
        SELECT day, kind, COALESCE(summed.entries, 0), COALESCE(summed.amount, 0),
               COALESCE(there.entries, 0), COALESCE(there.amount, 0)
        FROM summed FULL JOIN there USING (day, kind)
        WHERE (summed.entries, summed.amount) IS DISTINCT FROM (there.entries, there.amount)""",
}
SINCE_LAST: dict[str, str] = {
    "wallet {0}: balance {1}, its last entry says {2}": """
        SELECT w.id, w.balance_microcredits, l.balance_after_microcredits
        FROM billing_wallet w LEFT JOIN LATERAL (
            SELECT o.balance_after_microcredits FROM billing_ledgerentry o WHERE o.wallet_id = w.id
            ORDER BY o.id DESC LIMIT 1) l ON TRUE
        WHERE {new wallets} AND w.balance_microcredits <> COALESCE(l.balance_after_microcredits, 0)""",
    "entry {0}: its hash does not follow from the one before": """
        SELECT e.id FROM billing_ledgerentry e LEFT JOIN LATERAL (
            SELECT o.chain_hash FROM billing_ledgerentry o
            WHERE o.wallet_id = e.wallet_id AND o.id < e.id ORDER BY o.id DESC LIMIT 1) b ON TRUE
        WHERE {new entries} AND e.chain_hash IS DISTINCT FROM billing_entry_hash(b.chain_hash, e)""",
    "entry {0}: balance after is {1}, the one before it and its amount say {2}": """
        SELECT e.id, e.balance_after_microcredits, COALESCE(b.balance_after_microcredits, 0) + e.amount_microcredits
        FROM billing_ledgerentry e LEFT JOIN LATERAL (
            SELECT o.balance_after_microcredits FROM billing_ledgerentry o
            WHERE o.wallet_id = e.wallet_id AND o.id < e.id ORDER BY o.id DESC LIMIT 1) b ON TRUE
        WHERE {new entries} AND e.balance_after_microcredits
            <> COALESCE(b.balance_after_microcredits, 0) + e.amount_microcredits""",
    "top-up {0}: paid, worth {1}, credited {2}": """
        SELECT t.id, t.credits_microcredits + t.bonus_microcredits, COALESCE(SUM(e.amount_microcredits), 0)
        FROM billing_topup t LEFT JOIN billing_ledgerentry e
            ON e.idempotency_key IN ('topup:' || t.id, 'topup-bonus:' || t.id)
        WHERE t.paid_at >= {proven at}
        GROUP BY t.id
        HAVING COALESCE(SUM(e.amount_microcredits), 0) <> t.credits_microcredits + t.bonus_microcredits""",
}


@dataclass(frozen=True, slots=True)
class Report:
    """What a proof found: one line for each fault, how many entries were checked, and the balance of each account.

    The balances are in microcredits and sum to zero. They are empty for a proof of a window.
    """

    faults: list[str]
    entries: int
    accounts_microcredits: dict[str, int]


def register_check(check: Check) -> Check:
    """Add a check to every proof. Call this in an app's `ready`.

    A check yields one line for each fault in a window, or in everything if the window is None.
    """
    if check not in CHECKS:
        CHECKS.append(check)
    return check


def verify(window: Window | None = None) -> Report:
    """Run every check and return what was found. Each is one statement, so concurrent writes cause no false fault."""
    rules = RULES | (AT_NIGHT if window is None else SINCE_LAST)
    faults = [fault for sentence, query in rules.items() for fault in broken(sentence, query, window)]
    faults += [fault for check in CHECKS for fault in check(window)]
    if window is not None:
        return Report(faults, LedgerEntry.objects.filter(pk__gt=window.after_entry).count(), {})
    books = _books()
    if sum(books.values()):
        faults.append(f"the books sum to {sum(books.values())} microcredits, not to zero")
    return Report(faults, LedgerEntry.objects.count(), books)


def broken(sentence: str, query: str, window: Window | None) -> Iterator[str]:
    """Run the query and yield the sentence, filled with the values of each row that was found."""
    with connection.cursor() as cursor:
        cursor.execute(about_everything(query) if window is None else window.narrow(query))
        for row in cursor:
            yield sentence.format(*row)


def _books() -> dict[str, int]:
    """Return the microcredits in all wallets, and in each system account on the other side of the entries."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT 'wallets', COALESCE(SUM(balance_microcredits), 0)::bigint FROM billing_wallet
            UNION ALL
            SELECT kind, -SUM(amount_microcredits)::bigint FROM billing_ledgerentry GROUP BY kind"""
        )
        totals = cursor.fetchall()
    books: dict[str, int] = {}
    for name, amount in totals:
        account = CONTRA_ACCOUNTS.get(name, name)
        books[account] = books.get(account, 0) + int(amount)
    return books
