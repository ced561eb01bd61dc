"""What `verify_ledger` asks of generations."""

from collections.abc import Iterator

from django.db import connection


def generations_match_their_holds() -> Iterator[str]:
    """Yield a line for each generation whose state and hold tell different stories."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT g.id, g.state, h.state, g.completion_tokens, h.completion_tokens
            FROM inference_generation g JOIN billing_hold h ON h.id = g.hold_id
            WHERE (g.state IN ('queued', 'running')) <> (h.state = 'active')
               OR g.state IN ('completed', 'stopped') AND h.state <> 'settled'
               OR g.state IN ('failed', 'cancelled') AND h.state = 'settled'
               OR h.state = 'settled' AND g.completion_tokens <> h.completion_tokens"""
        )
        for generation_id, state, hold_state, tokens, charged_tokens in cursor:
            yield (
                f"generation {generation_id}: {state} with {tokens} tokens, "
                f"its hold is {hold_state} with {charged_tokens}"
            )


def cached_answers_repeat_what_was_generated() -> Iterator[str]:
    """Yield a line for each answer at the cache price that repeats none, and for each that repeats one without it."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT g.id, g.follows, h.is_from_cache FROM inference_generation g
            JOIN billing_hold h ON h.id = g.hold_id
            LEFT JOIN inference_generation a ON a.id = g.follows
            WHERE h.is_from_cache <> (g.follows IS NOT NULL AND g.state = 'completed')
               OR h.is_from_cache AND (a.id IS NULL OR a.state <> 'completed' OR a.follows IS NOT NULL
                    OR (a.cache_key, a.model_id, a.prompt_tokens, a.completion_tokens)
                    <> (g.cache_key, g.model_id, g.prompt_tokens, g.completion_tokens))
               OR h.is_from_cache AND (h.model_key, h.prompt_tokens, h.completion_tokens)
                    <> (g.model_id, g.prompt_tokens, g.completion_tokens)"""
        )
        for generation_id, answer_id, is_from_cache in cursor:
            price = "the cache price" if is_from_cache else "the full price"
            yield f"generation {generation_id}: {price}, which does not fit the answer {answer_id} that it repeats"


def charges_are_for_answers() -> Iterator[str]:
    """Yield a line for each settled hold that paid for no answer, or for another one than it says.

    Every settled hold, whatever its reference says: who forges one writes the reference too.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT h.id, h.reference, h.prompt_tokens, h.model_key, w.user_id, g.id, g.prompt_tokens, g.model_id,
                   g.user_id
            FROM billing_hold h JOIN billing_wallet w ON w.id = h.wallet_id
            LEFT JOIN inference_generation g ON g.hold_id = h.id
            WHERE h.state = 'settled' AND (g.id IS NULL
                OR (g.prompt_tokens, g.model_id, g.user_id) <> (h.prompt_tokens, h.model_key, w.user_id)
                OR h.reference NOT IN ('generation:' || g.id, 'generation:' || g.id || ':cached'))"""
        )
        for hold_id, reference, tokens, model_key, user_id, *answer in cursor:
            paid = (
                "no answer" if answer[0] is None else "generation {}: {} prompt tokens of {}, user {}".format(*answer)
            )
            yield f"hold {hold_id}: {reference}, {tokens} prompt tokens of {model_key}, user {user_id}, paid for {paid}"


def refunds_by_nobody_are_of_answers() -> Iterator[str]:
    """Yield a line for each refund that Tally made by itself, but of no answer that it failed to hand over."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT e.id, e.amount_microcredits, e.hold_id FROM billing_ledgerentry e
            LEFT JOIN inference_generation g
                ON g.hold_id = e.hold_id AND e.idempotency_key = 'undelivered:' || g.id
                AND g.idempotency_key LIKE 'api:%'
            WHERE e.kind = 'refund' AND e.created_by_id IS NULL AND g.id IS NULL"""
        )
        for entry_id, amount, hold_id in cursor:
            yield f"entry {entry_id}: refund of {amount} for hold {hold_id} by nobody, of no answer that was lost"
