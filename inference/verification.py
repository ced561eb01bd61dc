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
            WHERE (g.state IN ('queued', 'running')) <> (h.state = 'active') AND h.state <> 'expired'
               OR g.state = 'completed' AND h.state <> 'settled'
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
