"""The operators' part of /api/v1/."""

from django.urls import path

from monitoring.api import views

urlpatterns = [
    path("ops/health", views.Health.as_view(), name="ops_health"),
    path("ops/system", views.System.as_view(), name="ops_system"),
    path("ops/models", views.Models.as_view(), name="ops_models"),
    path("ops/workers", views.Workers.as_view(), name="ops_workers"),
    path("ops/queues", views.Queues.as_view(), name="ops_queues"),
    path("ops/answer-cache", views.AnswerCache.as_view(), name="ops_answer_cache"),
]
