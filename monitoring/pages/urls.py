"""URLs of the monitoring pages."""

from django.urls import path

from monitoring.pages import flower, operations, status

app_name = "monitoring"
urlpatterns = [
    path("status/", status.status, name="status"),
    path("ops/", operations.now, name="operations"),
    path("ops/flower/", flower.flower, name="flower"),
    path("ops/flower/entrance/", flower.entrance, name="flower_entrance"),
]
