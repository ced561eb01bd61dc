"""The operators' part of /api/v1/."""

from django.urls import path

from monitoring import api

urlpatterns = [
    path("ops/health", api.Health.as_view(), name="ops_health"),
    path("ops/system", api.System.as_view(), name="ops_system"),
    path("ops/models", api.Models.as_view(), name="ops_models"),
    path("ops/workers", api.Workers.as_view(), name="ops_workers"),
    path("ops/queues", api.Queues.as_view(), name="ops_queues"),
    path("ops/answer-cache", api.AnswerCache.as_view(), name="ops_answer_cache"),
]
