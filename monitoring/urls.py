"""URLs of the health checks, for load balancers and supervisors, and of the metrics, for Prometheus."""

from django.urls import path

from monitoring import views
from monitoring.prometheus.views import metrics

urlpatterns = [
    path("healthz", views.healthz, name="healthz"),
    path("readyz", views.readyz, name="readyz"),
    path("metrics", metrics, name="metrics"),
]
