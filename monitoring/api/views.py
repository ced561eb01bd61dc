"""The operators' part of the API: health, machine, models, workers, queues and the answer cache."""

from rest_framework.request import Request
from rest_framework.response import Response

from accounts.callers.authentication import requires_permission
from accounts.callers.views import ApiView
from core.rest.problems import BY_STATUS, explain
from core.rest.schema import operation
from monitoring import machine
from monitoring.api.serializers import AnswerCacheOut, HealthOut, ModelsOut, QueuesOut, SystemOut, WorkersOut

TAG = "Operations"
MODEL = {
    "key": "gemma-3-1b",
    "name": "Gemma 3 1B",
    "is_active": True,
    "is_available": True,
    "unavailable_reason": "",
    "queue": "generate.gemma-3-1b",
    "queued": 2,
    "running": 8,
    "oldest_queued_seconds": 1.4,
}
SYSTEM = {
    "processors": 16,
    "processor_percent": 41.5,
    "load_1_minute": 6.2,
    "memory_total_bytes": 67_108_864_000,
    "memory_available_bytes": 21_474_836_480,
    "disk_total_bytes": 536_870_912_000,
    "disk_free_bytes": 214_748_364_800,
    "uptime_seconds": 864_000,
    "gpus": [
        {
            "name": "NVIDIA L4",
            "utilisation_percent": 87,
            "memory_total_bytes": 24_152_899_584,
            "memory_used_bytes": 19_327_352_832,
            "temperature_celsius": 71,
        }
    ],
}
WORKER = {
    "name": "gpu0@host",
    "pid": 4242,
    "threads": 32,
    "queues": ["generate.gemma-3-1b"],
    "active_tasks": 8,
    "total_tasks": 91_004,
    "uptime_seconds": 86_400,
}
ANSWER_CACHE = {
    "entries": 8_214,
    "entries_limit": 100_000,
    "price_percent": 10,
    "hits": 31_570,
    "misses": 12_904,
    "joined": 418,
    "stored": 12_871,
    "evicted": 0,
}

explain(machine.BrokerAway, BY_STATUS[503])


class OperatorView(ApiView):
    """A view for operators: staff who may view the model catalogue."""

    permission_classes = (requires_permission("inference.view_cataloguemodel"),)


class Health(OperatorView):
    """PostgreSQL and Redis."""

    @operation(
        tag=TAG,
        summary="Is everything up",
        answer=HealthOut,
        example={"is_ok": True, "checks": [{"name": "database", "is_ok": True, "milliseconds": 0.6}]},
    )
    def get(self, _request: Request) -> Response:
        """Whether PostgreSQL and Redis answer, and how fast. For load balancers there is /readyz, without log-in."""
        checks = machine.check_services()
        return Response(HealthOut({"is_ok": all(check.is_ok for check in checks), "checks": checks}).data)


class System(OperatorView):
    """The machine."""

    @operation(tag=TAG, summary="Look at the machine", answer=SystemOut, example=SYSTEM)
    def get(self, _request: Request) -> Response:
        """Processor, memory, disk and GPUs of the machine that answers this request."""
        return Response(SystemOut(machine.read_system()).data)


class Models(OperatorView):
    """The catalogue and its queues."""

    @operation(tag=TAG, summary="Look at the models", answer=ModelsOut, example={"models": [MODEL]})
    def get(self, _request: Request) -> Response:
        """Every model: whether it can be asked, why not, how many answers wait and run, how long the first waits."""
        return Response(ModelsOut({"models": machine.read_models()}).data)


class Workers(OperatorView):
    """The Celery workers."""

    @operation(tag=TAG, summary="Look at the workers", answer=WorkersOut, example={"workers": [WORKER]}, errors=(503,))
    def get(self, _request: Request) -> Response:
        """The Celery workers that answer within a second. One that is missing is dead, or its machine is overloaded."""
        return Response(WorkersOut({"workers": machine.read_workers()}).data)


class Queues(OperatorView):
    """The broker's queues."""

    @operation(
        tag=TAG,
        summary="Look at the queues",
        answer=QueuesOut,
        example={"queues": [{"name": "default", "tasks": 0}]},
        errors=(503,),
    )
    def get(self, _request: Request) -> Response:
        """How many tasks lie in each queue that no worker has taken yet.

        A model's queue has one for all answers that wait; the models say how many these are.
        """
        return Response(QueuesOut({"queues": machine.read_queues()}).data)


class AnswerCache(OperatorView):
    """The cache of deterministic answers."""

    @operation(tag=TAG, summary="Look at the answer cache", answer=AnswerCacheOut, example=ANSWER_CACHE, errors=(503,))
    def get(self, _request: Request) -> Response:
        """How many answers the cache knows, and how often it helped since Redis was last emptied."""
        return Response(AnswerCacheOut(machine.read_answer_cache()).data)
