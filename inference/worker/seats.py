"""The seats of a GPU worker: each answer that it writes has one. Claims queued rows for the free seats."""

import threading
import time
from collections import Counter, deque
from uuid import UUID

from django.conf import settings
from django.db import connection
from django.db.models import QuerySet

from inference.generations.statements import claim_next
from inference.models import Generation
from inference.worker.jobs import Job

DEFAULT_SEATS = 64  # in a Celery worker it is the size of its pool
PASSED_OVER_TRIES, PASSED_OVER_SECONDS = 10, 0.02  # a queued row that is being changed is locked for milliseconds


class Seats:
    """The seats of one worker. `jobs` are the answers that have one; once `is_closed`, no more rows are claimed."""

    def __init__(self) -> None:
        self.count = DEFAULT_SEATS
        self.is_closed = False
        self.jobs: dict[UUID, Job] = {}
        # Keys of models that may have more rows: there was no free seat, or a user had MAX_RUNNING_OF_USER answers.
        self.left: dict[str, None] = {}
        self._claiming = threading.Lock()
        self._early_stops: deque[UUID] = deque(maxlen=1000)  # ids that were stopped before they were jobs here

    def claim(self, model_key: str) -> list[Generation]:
        """Claim rows for the free seats. One thread at a time, so that each sees the seats that others have taken."""
        with self._claiming:
            return self._take(model_key)

    def models_left(self) -> list[str]:
        """The keys of models that may have more rows to claim. Waits until a running claim has updated them."""
        with self._claiming:
            return list(self.left)

    def _take(self, model_key: str) -> list[Generation]:
        """Claim rows, add them to `jobs`, and update `left`. The caller has the lock."""
        free = self.count - len(self.jobs)
        if self.is_closed:
            return []
        most = settings.MAX_RUNNING_OF_USER
        try:
            taken = claim_next(model_key, self.running_by_user(model_key), most, free) if free > 0 else []
        finally:
            connection.close()  # back to the pool: the engine may take minutes
        for generation in taken:
            job = self.jobs[generation.pk] = Job(generation.pk, model_key, generation.user_id)
            if generation.pk in self._early_stops:
                job.stop()
        self.left.pop(model_key, None)
        if len(taken) >= free or max(self.running_by_user(model_key).values(), default=0) >= most:
            self.left[model_key] = None
        return taken

    def claim_passed_over(self, model_key: str) -> list[Generation]:
        """Try again to claim rows that the first claim skipped, since another transaction had locked them."""
        for _try in range(PASSED_OVER_TRIES):
            if model_key in self.left or not self._is_one_claimable(model_key):
                return []
            time.sleep(PASSED_OVER_SECONDS)
            taken = self.claim(model_key)
            if taken:
                return taken
        return []

    def _is_one_claimable(self, model_key: str) -> bool:
        rows = Generation.objects.claimable().filter(model_id=model_key)
        try:
            return not self.is_closed and self.without_the_busy(rows, model_key).exists()
        finally:
            connection.close()

    def without_the_busy(self, rows: QuerySet[Generation], model_key: str) -> QuerySet[Generation]:
        """The rows of users who have fewer than MAX_RUNNING_OF_USER answers of this model in this worker."""
        running = self.running_by_user(model_key)
        enough = [user_id for user_id, count in running.items() if count >= settings.MAX_RUNNING_OF_USER]
        return rows.exclude(user_id__in=enough)

    def running_by_user(self, model_key: str) -> Counter[int]:
        """How many seats each user id has with a model."""
        return Counter(job.user_id for job in list(self.jobs.values()) if job.model_key == model_key)

    def has_free(self) -> bool:
        """Whether another answer could begin now."""
        return len(self.jobs) < self.count

    def find_to_stop(self, generation_id: UUID) -> Job | None:
        """The job to stop, if it is here. A job that a thread is about to make is stopped as soon as it is made."""
        self._early_stops.append(generation_id)
        return self.jobs.get(generation_id)
