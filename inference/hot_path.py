"""The statements that every answer runs outside billing, written out in SQL: insert, claim, end, read.

As in `billing.hot_path` (docs/adr/0010): composing each of these costs the ORM several times what PostgreSQL needs to
run it. All else about generations goes through the ORM.
"""

from collections.abc import Mapping
from datetime import datetime
from functools import cache
from typing import Any
from uuid import UUID

from django.db import connection
from django.utils import timezone

from accounts import sql
from inference.models import LIVE_STATES, CatalogueModel, Generation, GenerationState

OFFERED_MODEL = "SELECT {model} FROM inference_cataloguemodel m WHERE m.key = %s AND m.is_active"

READ_GENERATION = "SELECT {generation} FROM inference_generation g WHERE g.id = %s"

# Nothing is inserted when this key has made a generation before, or this user has `most` of them queued or running.
INSERT_GENERATION = """
INSERT INTO inference_generation ({columns}) SELECT {values}
WHERE NOT EXISTS (SELECT FROM inference_generation WHERE user_id = %s AND idempotency_key = %s)
  AND (SELECT COUNT(*) FROM inference_generation WHERE user_id = %s AND state = ANY(%s)) < %s"""

# The customer with the fewest answers running in this worker is next, then whoever asked first. Rows that another
# worker is about to claim are passed over.
CLAIM_NEXT = """
UPDATE inference_generation g SET state = %s, started_at = %s, heartbeat_at = %s
FROM inference_cataloguemodel m
WHERE m.key = g.model_id AND g.id = (
    SELECT q.id FROM inference_generation q
    LEFT JOIN unnest(%s::bigint[], %s::int[]) AS busy (user_id, running) ON busy.user_id = q.user_id
    WHERE q.model_id = %s AND q.state = %s AND q.follows IS NULL AND COALESCE(busy.running, 0) < %s
    ORDER BY COALESCE(busy.running, 0), q.created_at
    LIMIT 1 FOR UPDATE OF q SKIP LOCKED)
RETURNING {generation}, {model}"""

END_GENERATION = """
UPDATE inference_generation g SET state = %s, text = %s, completion_tokens = LEAST(%s, g.max_completion_tokens),
    finish_reason = %s, error = %s, prompt_token_ids = '{{}}', ended_at = %s
WHERE g.id = %s AND g.state = ANY(%s) RETURNING {generation}"""


def read_offered_model(key: str) -> CatalogueModel | None:
    """The model with this key if customers see it."""
    row = sql.fetch_one(OFFERED_MODEL.format(model=sql.columns(CatalogueModel, "m")), [key])
    return None if row is None else sql.instance(CatalogueModel, row)


def read_generation(generation_id: UUID) -> Generation:
    """The row as it stands. Raises Generation.DoesNotExist."""
    row = sql.fetch_one(READ_GENERATION.format(generation=sql.columns(Generation, "g")), [generation_id])
    if row is None:
        raise Generation.DoesNotExist(f"there is no generation {generation_id}")
    return sql.instance(Generation, row)


def insert_generation(generation: Generation, most_live: int) -> bool:
    """Insert a new row, unless its key has one or the user has `most_live` that have not ended; whether it did.

    Two at once are told apart by the wallet, which the caller has locked.
    """
    fields = Generation._meta.concrete_fields
    values: list[Any] = [field.get_db_prep_save(field.pre_save(generation, add=True), connection) for field in fields]
    conditions: list[Any] = [
        generation.user_id,
        generation.idempotency_key,
        generation.user_id,
        list(LIVE_STATES),
        most_live,
    ]
    with connection.cursor() as cursor:
        cursor.execute(_insert_statement(), [*values, *conditions])
        generation._state.adding = not cursor.rowcount
        return bool(cursor.rowcount)


def claim_next(model_key: str, running: Mapping[int, int], most_of_user: int) -> Generation | None:
    """Move the next fair row of this model from queued to running; None when there is none for this worker.

    `running` counts by user id what this worker is answering; users who have `most_of_user` are passed over. The
    generation comes with its model.
    """
    now = timezone.now()
    statement = CLAIM_NEXT.format(generation=sql.columns(Generation, "g"), model=sql.columns(CatalogueModel, "m"))
    of_claim = [GenerationState.RUNNING, now, now, list(running), list(running.values())]
    row = sql.fetch_one(statement, [*of_claim, model_key, GenerationState.QUEUED, most_of_user])
    if row is None:
        return None
    generation = sql.instance(Generation, row[: sql.width(Generation)])
    generation.model = sql.instance(CatalogueModel, row[sql.width(Generation) :])
    return generation


def end_generation(
    generation_id: UUID,
    *states: GenerationState,
    state: GenerationState,
    text: str,
    completion_tokens: int,
    finish_reason: str,
    error: str,
    ended_at: datetime,
) -> Generation | None:
    """End a row that is in one of `states`, and return it as it is now; None when it was not. Locks the row."""
    values: list[Any] = [state, text, completion_tokens, finish_reason, error, ended_at]
    statement = END_GENERATION.format(generation=sql.columns(Generation, "g"))
    row = sql.fetch_one(statement, [*values, generation_id, list(states)])
    return None if row is None else sql.instance(Generation, row)


@cache
def _insert_statement() -> str:
    names = [f'"{field.column}"' for field in Generation._meta.concrete_fields]
    return INSERT_GENERATION.format(columns=", ".join(names), values=", ".join(["%s"] * len(names)))
