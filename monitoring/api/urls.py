"""The operators' part of /api/v1/, and the reports of staff."""

from django.urls import path

from monitoring.api import reports, views

urlpatterns = [
    path("ops/health", views.Health.as_view(), name="ops_health"),
    path("ops/system", views.System.as_view(), name="ops_system"),
    path("ops/models", views.Models.as_view(), name="ops_models"),
    path("ops/workers", views.Workers.as_view(), name="ops_workers"),
    path("ops/queues", views.Queues.as_view(), name="ops_queues"),
    path("ops/answer-cache", views.AnswerCache.as_view(), name="ops_answer_cache"),
    path("reports/revenue", reports.Revenue.as_view(), name="report_revenue"),
    path("reports/usage", reports.Usage.as_view(), name="report_usage"),
    path("reports/models", reports.Models.as_view(), name="report_models"),
    path("reports/performance", reports.Performance.as_view(), name="report_performance"),
    path("reports/incidents", reports.Incidents.as_view(), name="report_incidents"),
]
