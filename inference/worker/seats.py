"""The seats of a GPU worker: how many answers it writes at a time, which they are, and how free seats are filled."""

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
PASSED_OVER_TRIES, PASSED_OVER_SECONDS = 10, 0.02  # a change of a queued row takes milliseconds


class Seats:
    """`jobs` are the answers that have a seat; `is_closed` says that no more are taken."""

    def __init__(self) -> None:
        self.count = DEFAULT_SEATS
        self.is_closed = False
        self.jobs: dict[UUID, Job] = {}
        self.left: dict[str, None] = {}  # models with rows that found no seat, or whose customers had enough
        self._claiming = threading.Lock()
        self._early_stops: deque[UUID] = deque(maxlen=1000)  # ids that were stopped before they were jobs here

    def claim(self, model_key: str) -> list[Generation]:
        """Take rows for the seats that are free, one thread at a time, so that each sees what the others have."""
        with self._claiming:
            return self._take(model_key)

    def models_left(self) -> list[str]:
        """The models with rows that could not be taken before, once whoever is claiming has said what is left."""
        with self._claiming:
            return list(self.left)

    def _take(self, model_key: str) -> list[Generation]:
        """Claim rows and note them as jobs, and whether some may be left. One thread at a time."""
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
        """Claim what a ticket came for and a claim passed over, since somebody was just changing it."""
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
        """The rows of users who may have another answer in this worker."""
        running = self.running_by_user(model_key)
        enough = [user_id for user_id, count in running.items() if count >= settings.MAX_RUNNING_OF_USER]
        return rows.exclude(user_id__in=enough)

    def running_by_user(self, model_key: str) -> Counter[int]:
        """How many seats each user has with a model."""
        return Counter(job.user_id for job in list(self.jobs.values()) if job.model_key == model_key)

    def has_free(self) -> bool:
        """Whether another answer could begin now."""
        return len(self.jobs) < self.count

    def find_to_stop(self, generation_id: UUID) -> Job | None:
        """The job that is to be stopped; one that a thread is just about to make will know that it was."""
        self._early_stops.append(generation_id)
        return self.jobs.get(generation_id)
