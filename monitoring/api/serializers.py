"""Answers of the operators' part of the API."""

from typing import Any

from rest_framework import serializers


class CheckOut(serializers.Serializer[Any]):
    """One thing that everything needs."""

    name = serializers.CharField()
    is_ok = serializers.BooleanField()
    milliseconds = serializers.FloatField(help_text="How long it took to answer.")


class HealthOut(serializers.Serializer[Any]):
    """Whether all of them answer."""

    is_ok = serializers.BooleanField()
    checks = CheckOut(many=True)


class GpuOut(serializers.Serializer[Any]):
    """One GPU, by NVIDIA's own figures."""

    name = serializers.CharField()
    utilisation_percent = serializers.IntegerField()
    memory_total_bytes = serializers.IntegerField()
    memory_used_bytes = serializers.IntegerField()
    temperature_celsius = serializers.IntegerField()


class SystemOut(serializers.Serializer[Any]):
    """The machine that answered."""

    processors = serializers.IntegerField()
    processor_percent = serializers.FloatField()
    load_1_minute = serializers.FloatField()
    memory_total_bytes = serializers.IntegerField()
    memory_available_bytes = serializers.IntegerField()
    disk_total_bytes = serializers.IntegerField()
    disk_free_bytes = serializers.IntegerField()
    uptime_seconds = serializers.IntegerField()
    gpus = GpuOut(many=True)


class ServedModelOut(serializers.Serializer[Any]):
    """One model and what waits for it."""

    key = serializers.CharField()
    name = serializers.CharField()
    is_active = serializers.BooleanField(help_text="Whether it is on offer.")
    is_available = serializers.BooleanField(help_text="Whether it can be asked now.")
    unavailable_reason = serializers.CharField(help_text="Empty while it is available.")
    queue = serializers.CharField()
    queued = serializers.IntegerField()
    running = serializers.IntegerField()
    oldest_queued_seconds = serializers.FloatField(allow_null=True)


class ModelsOut(serializers.Serializer[Any]):
    """The catalogue."""

    models = ServedModelOut(many=True)


class WorkerOut(serializers.Serializer[Any]):
    """One Celery worker."""

    name = serializers.CharField()
    pid = serializers.IntegerField()
    threads = serializers.IntegerField(help_text="Tasks it works on at once.")
    queues = serializers.ListField(child=serializers.CharField())
    active_tasks = serializers.IntegerField()
    total_tasks = serializers.IntegerField(help_text="Since it started.")
    uptime_seconds = serializers.IntegerField()


class WorkersOut(serializers.Serializer[Any]):
    """Those that answered within a second."""

    workers = WorkerOut(many=True)


class QueueOut(serializers.Serializer[Any]):
    """One queue of the broker."""

    name = serializers.CharField()
    tasks = serializers.IntegerField(help_text="That no worker has taken yet.")


class QueuesOut(serializers.Serializer[Any]):
    """All of them."""

    queues = QueueOut(many=True)


class AnswerCacheOut(serializers.Serializer[Any]):
    """How the answer cache does."""

    entries = serializers.IntegerField(help_text="Answers it knows now.")
    entries_limit = serializers.IntegerField(help_text="Beyond it, those not used for longest go.")
    price_percent = serializers.IntegerField(help_text="What a repeated answer costs, of the model's prices.")
    hits = serializers.IntegerField(help_text="Requests that repeated an answer at once.")
    misses = serializers.IntegerField(help_text="Deterministic requests that were generated.")
    joined = serializers.IntegerField(help_text="Requests that waited for an identical one that was being generated.")
    stored = serializers.IntegerField(help_text="Answers that were kept.")
    evicted = serializers.IntegerField(help_text="Answers that made room before their time.")
