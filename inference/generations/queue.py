"""Finds the place of a queued answer, by the same turns between customers as workers take (`statements.CLAIM_NEXT`)."""

from dataclasses import dataclass

from django.conf import settings
from django.utils import timezone
from django.utils.translation import gettext as _

from core import sql
from inference.models import Generation, GenerationState

# Each customer's first row comes before the second row of any customer. The mean age of the running answers tells how
# soon a seat becomes free: at any moment, a running answer is half done on average.
PLACE = """
WITH waiting AS (
    SELECT id, created_at, row_number() OVER (PARTITION BY user_id ORDER BY created_at) AS turn
    FROM inference_generation WHERE model_id = %s AND state = %s AND follows IS NULL),
running AS (
    SELECT COUNT(*) AS places, AVG(EXTRACT(EPOCH FROM %s - started_at)) AS age_seconds
    FROM inference_generation WHERE model_id = %s AND state = %s)
SELECT (SELECT COUNT(*) FROM waiting other WHERE (other.turn, other.created_at) < (mine.turn, mine.created_at)),
    running.places, running.age_seconds
FROM waiting mine, running WHERE mine.id = %s"""


@dataclass(frozen=True, slots=True)
class QueuePlace:
    """How many answers come before this one, and about how many seconds it waits; None if nothing runs to tell."""

    ahead: int
    wait_seconds: int | None

    def describe(self) -> str:
        """For the customer who waits."""
        if not self.ahead:
            return _("Waiting for the model…")
        if self.wait_seconds is None:
            return _("{ahead} ahead of you").format(ahead=self.ahead)
        return _("{ahead} ahead of you, about {seconds} s").format(ahead=self.ahead, seconds=self.wait_seconds)


def find_place(generation: Generation) -> QueuePlace:
    """The place of a queued generation; for one that is not queued any more, the first place. One query."""
    of_model = [generation.model_id, GenerationState.QUEUED, timezone.now()]
    row = sql.fetch_one(PLACE, [*of_model, generation.model_id, GenerationState.RUNNING, generation.pk])
    if row is None:
        return QueuePlace(0, None)
    ahead, places, age_seconds = row
    if not places:
        return QueuePlace(ahead, None)
    seconds = round((ahead + 1) * 2 * float(age_seconds) / places)
    return QueuePlace(ahead, min(max(1, seconds), settings.QUEUE_WAIT_SECONDS))
