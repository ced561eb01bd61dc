"""The SQL statements that every answer runs outside billing: insert, claim, end, read.

The ORM would need several times longer to compose each of them than PostgreSQL needs to run it (docs/adr/0010). All
other queries of generations use the ORM.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any
from uuid import UUID

from django.db import connection

from billing.ledger.charges import Charge, charge_of
from core import sql
from inference.models import LIVE_STATES, CatalogueModel, Generation, GenerationState

TokenTimes = tuple[float, float]  # seconds from the claim of an answer to its first and to its last token

TOLD_BY_THE_DATABASE = ("created_at", "enqueued_at")  # set by the database's clock, which time-outs compare them with

OFFERED_MODEL = "SELECT {model} FROM inference_cataloguemodel m WHERE m.key = %s AND m.is_active"

READ_ANSWER = """
SELECT {generation}, charge.* FROM inference_generation g CROSS JOIN LATERAL ({charge}) charge WHERE g.id = %s"""

# Inserts nothing if the user's idempotency key has a generation, or the user has `most_live` of them queued or running.
# If a web process has to hand the answer over, its delivery is inserted too.
INSERT_GENERATION = """
WITH made AS (
    INSERT INTO inference_generation ({columns}) SELECT {values}
    WHERE NOT EXISTS (SELECT FROM inference_generation WHERE user_id = %s AND idempotency_key = %s)
      AND (SELECT COUNT(*) FROM inference_generation WHERE user_id = %s AND state = ANY(%s)) < %s
    RETURNING id, created_at
), delivery AS (
    INSERT INTO inference_delivery (generation_id, process_id)
    SELECT id, process FROM made, (SELECT %s::uuid AS process) hands_over WHERE process IS NOT NULL
)
SELECT created_at FROM made"""

# Chooses rows as if they were claimed one by one: next is the customer with the fewest answers running in this worker,
# among equals the oldest row. `place` is how many answers the customer then has in this worker. Rows that another
# worker is about to claim are skipped.
CLAIM_NEXT = """
WITH waiting AS (
    SELECT g.id, g.created_at, COALESCE(busy.running, 0)
        + ROW_NUMBER() OVER (PARTITION BY g.user_id ORDER BY g.created_at, g.id) AS place
    FROM inference_generation g
    LEFT JOIN unnest(%s::bigint[], %s::int[]) AS busy (user_id, running) ON busy.user_id = g.user_id
    WHERE g.model_id = %s AND g.state = %s AND g.follows IS NULL
), next AS MATERIALIZED (
    SELECT g.id, w.place FROM inference_generation g JOIN waiting w ON w.id = g.id
    WHERE g.state = %s AND w.place <= %s
    ORDER BY w.place, w.created_at
    LIMIT %s FOR UPDATE OF g SKIP LOCKED
)
UPDATE inference_generation g SET state = %s, started_at = clock_timestamp(), heartbeat_at = clock_timestamp()
FROM next, inference_cataloguemodel m
WHERE g.id = next.id AND m.key = g.model_id
RETURNING next.place, {generation}, {model}"""

END_GENERATION = """
UPDATE inference_generation g SET state = %s, text = %s, completion_tokens = LEAST(%s, g.max_completion_tokens),
    finish_reason = %s, error = %s, prompt_token_ids = '{{}}', ended_at = %s,
    first_token_at = g.started_at + make_interval(secs => %s), last_token_at = g.started_at + make_interval(secs => %s)
WHERE g.id = %s AND g.state = ANY(%s) AND {condition} RETURNING {generation}"""


def read_offered_model(key: str) -> CatalogueModel | None:
    """The model with this key; None if there is none or it is not active."""
    row = sql.fetch_one(OFFERED_MODEL.format(model=sql.columns(CatalogueModel, "m")), [key])
    return None if row is None else sql.instance(CatalogueModel, row)


def read_answer(generation_id: UUID) -> tuple[Generation, Charge]:
    """The row as it is now, and its charge. Raises Generation.DoesNotExist."""
    statement = READ_ANSWER.format(generation=sql.columns(Generation, "g"), charge=charge_of("g.hold_id"))
    row = sql.fetch_one(statement, [generation_id])
    if row is None:
        raise Generation.DoesNotExist(f"there is no generation {generation_id}")
    width = sql.width(Generation)
    return sql.instance(Generation, row[:width]), Charge(*row[width:])


def insert_generation(generation: Generation, most_live: int, process_id: UUID | None) -> bool:
    """Insert a new row, unless its key has one or the user has `most_live` that have not ended. Returns whether it did.

    `process_id` is the web process that has to hand the answer over (`deliveries`), None if there is none. The caller
    has locked the wallet, so two requests with the same key cannot both be inserted.
    """
    fields = [field for field in Generation._meta.concrete_fields if field.name not in TOLD_BY_THE_DATABASE]
    values: list[Any] = [field.get_db_prep_save(field.pre_save(generation, add=True), connection) for field in fields]
    conditions: list[Any] = [
        generation.user_id,
        generation.idempotency_key,
        generation.user_id,
        list(LIVE_STATES),
        most_live,
        process_id,
    ]
    row = sql.fetch_one(_insert_statement(), [*values, *conditions])
    if row is None:
        return False
    generation.created_at = generation.enqueued_at = row[0]
    generation._state.adding = False
    return True


def claim_next(model_key: str, running: Mapping[int, int], most_of_user: int, count: int = 1) -> list[Generation]:
    """Move up to `count` queued rows of this model to running, in fair turns between users, and return them.

    `running` is the number of answers by user id that this worker writes now; with these, no user gets more than
    `most_of_user`. The generations come with their model, in the order in which they should begin.
    """
    statement = CLAIM_NEXT.format(generation=sql.columns(Generation, "g"), model=sql.columns(CatalogueModel, "m"))
    of_waiting = [list(running), list(running.values()), model_key, GenerationState.QUEUED]
    of_next = [GenerationState.QUEUED, most_of_user, count]
    rows = sql.fetch_all(statement, [*of_waiting, *of_next, GenerationState.RUNNING])
    claimed = [(row[0], _claimed(row[1:])) for row in rows]
    claimed.sort(key=lambda place_and_row: (place_and_row[0], place_and_row[1].created_at))
    return [generation for _place, generation in claimed]


def end_generation(
    generation_id: UUID,
    *states: GenerationState,
    state: GenerationState,
    text: str,
    completion_tokens: int,
    finish_reason: str,
    error: str,
    ended_at: datetime,
    token_times: TokenTimes | None = None,
    condition: str = "TRUE",
) -> Generation | None:
    """End a row if it is in one of `states` and `condition` holds. Returns the new row, or None. Locks the row.

    `condition` is SQL about the row, which is `g`.
    """
    values: list[Any] = [state, text, completion_tokens, finish_reason, error, ended_at, *(token_times or (None, None))]
    statement = END_GENERATION.format(generation=sql.columns(Generation, "g"), condition=condition)
    row = sql.fetch_one(statement, [*values, generation_id, list(states)])
    return None if row is None else sql.instance(Generation, row)


def _claimed(row: Sequence[Any]) -> Generation:
    generation = sql.instance(Generation, row[: sql.width(Generation)])
    generation.model = sql.instance(CatalogueModel, row[sql.width(Generation) :])
    return generation


@cache
def _insert_statement() -> str:
    fields = Generation._meta.concrete_fields
    values = ["statement_timestamp()" if field.name in TOLD_BY_THE_DATABASE else "%s" for field in fields]
    names = [f'"{field.column}"' for field in fields]
    return INSERT_GENERATION.format(columns=", ".join(names), values=", ".join(values))
