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
