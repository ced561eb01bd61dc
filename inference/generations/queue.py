"""Where a queued answer stands. Workers take turns between customers (`hot_path.CLAIM_NEXT`), and so does this."""

from dataclasses import dataclass

from django.conf import settings
from django.utils import timezone
from django.utils.translation import gettext as _

from core import sql
from inference.models import Generation, GenerationState

# Everybody's first row comes before anybody's second. The ages of what runs say how soon a place becomes free: what is
# seen at some moment is half done on average.
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
    """How many are answered before this one, and about when its turn comes; None when nothing tells."""

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
    """The place of a queued generation; the first one's for any that is not queued any more. One query."""
    of_model = [generation.model_id, GenerationState.QUEUED, timezone.now()]
    row = sql.fetch_one(PLACE, [*of_model, generation.model_id, GenerationState.RUNNING, generation.pk])
    if row is None:
        return QueuePlace(0, None)
    ahead, places, age_seconds = row
    if not places:
        return QueuePlace(ahead, None)
    seconds = round((ahead + 1) * 2 * float(age_seconds) / places)
    return QueuePlace(ahead, min(max(1, seconds), settings.QUEUE_WAIT_SECONDS))
