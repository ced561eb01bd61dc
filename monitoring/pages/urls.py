"""URLs of the monitoring pages."""

from django.urls import path

from monitoring.pages import status

app_name = "monitoring"
urlpatterns = [
    path("status/", status.status, name="status"),
]
