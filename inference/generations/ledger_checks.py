"""The checks of `verify_ledger` that compare generations with the ledger."""

from collections.abc import Iterator

from billing.ledger.verification.checks import Window, broken


def generations_match_their_holds(window: Window | None) -> Iterator[str]:
    """Yield a line for each generation whose state or tokens contradict its hold."""
    yield from broken(
        "generation {0}: {1} with {3} tokens, its hold is {2} with {4}",
        """
            SELECT g.id, g.state, h.state, g.completion_tokens, h.completion_tokens
            FROM inference_generation g JOIN billing_hold h ON h.id = g.hold_id
            WHERE {new holds} AND ((g.state IN ('queued', 'running')) <> (h.state = 'active')
               OR g.state IN ('completed', 'stopped') AND h.state <> 'settled'
               OR g.state IN ('failed', 'cancelled') AND h.state = 'settled'
               OR h.state = 'settled' AND g.completion_tokens <> h.completion_tokens)""",
        window,
    )


def cached_answers_repeat_what_was_generated(window: Window | None) -> Iterator[str]:
    """Yield a line for each answer at the cache price that repeats none, and for each repeat at another price."""
    yield from broken(
        "generation {0}: the {2} price, which does not fit the answer {1} that it repeats",
        """
            SELECT g.id, g.follows, CASE WHEN h.is_from_cache THEN 'cache' ELSE 'full' END FROM inference_generation g
            JOIN billing_hold h ON h.id = g.hold_id
            LEFT JOIN inference_generation a ON a.id = g.follows
            WHERE {new holds} AND (h.is_from_cache <> (g.follows IS NOT NULL AND g.state = 'completed')
               OR h.is_from_cache AND (a.id IS NULL OR a.state <> 'completed' OR a.follows IS NOT NULL
                    OR (a.cache_key, a.model_id, a.prompt_tokens, a.completion_tokens)
                    <> (g.cache_key, g.model_id, g.prompt_tokens, g.completion_tokens))
               OR h.is_from_cache AND (h.model_key, h.prompt_tokens, h.completion_tokens)
                    <> (g.model_id, g.prompt_tokens, g.completion_tokens))""",
        window,
    )


def charges_are_for_answers(window: Window | None) -> Iterator[str]:
    """Yield a line for each settled hold that paid for no answer, or for another answer than the hold says.

    Every settled hold is checked, whatever its reference is: somebody who forges a hold can forge the reference too.
    """
    yield from broken(
        "hold {0}: {1}, {2} prompt tokens of {3}, user {4}, paid for {5}",
        """
            SELECT h.id, h.reference, h.prompt_tokens, h.model_key, w.user_id,
                CASE WHEN g.id IS NULL THEN 'no answer' ELSE format(
                    'generation %s: %s prompt tokens of %s, user %s', g.id, g.prompt_tokens, g.model_id, g.user_id) END
            FROM billing_hold h JOIN billing_wallet w ON w.id = h.wallet_id
            LEFT JOIN inference_generation g ON g.hold_id = h.id
            WHERE {new holds} AND h.state = 'settled' AND (g.id IS NULL
                OR (g.prompt_tokens, g.model_id, g.user_id) <> (h.prompt_tokens, h.model_key, w.user_id)
                OR h.reference NOT IN ('generation:' || g.id, 'generation:' || g.id || ':cached'))""",
        window,
    )


def refunds_by_nobody_are_of_answers(window: Window | None) -> Iterator[str]:
    """Yield a line for each automatic refund that is not for an undelivered answer of the API."""
    yield from broken(
        "entry {0}: refund of {1} for hold {2} by nobody, of no answer that was lost",
        """
            SELECT e.id, e.amount_microcredits, e.hold_id FROM billing_ledgerentry e
            LEFT JOIN inference_generation g
                ON g.hold_id = e.hold_id AND e.idempotency_key = 'undelivered:' || g.id
                AND g.idempotency_key LIKE 'api:%'
            WHERE {new entries} AND e.kind = 'refund' AND e.created_by_id IS NULL AND g.id IS NULL""",
        window,
    )
