"""URLs of the monitoring pages."""

from django.urls import path

from monitoring.pages import operations, status

app_name = "monitoring"
urlpatterns = [
    path("status/", status.status, name="status"),
    path("ops/", operations.now, name="operations"),
]
