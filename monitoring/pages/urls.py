"""URLs of the monitoring pages."""

from django.urls import path

from monitoring.pages import flower, operations, reports, status

app_name = "monitoring"
urlpatterns = [
    path("status/", status.status, name="status"),
    path("ops/", operations.now, name="operations"),
    path("ops/reports/", reports.reports, name="reports"),
    path("ops/reports/<str:name>/", reports.report, name="report"),
    path("ops/reports/<str:name>/<str:form>", reports.report_file, name="report_file"),
    path("ops/flower/", flower.flower, name="flower"),
    path("ops/flower/entrance/", flower.entrance, name="flower_entrance"),
]
