"""URLs of the monitoring pages."""

from django.urls import path

from monitoring.pages import alerts, flower, operations, reports, status

app_name = "monitoring"
urlpatterns = [
    path("status/", status.status, name="status"),
    path("ops/", operations.now, name="operations"),
    path("ops/reports/", reports.reports, name="reports"),
    path("ops/reports/<str:name>/", reports.report, name="report"),
    path("ops/reports/<str:name>/<str:form>", reports.report_file, name="report_file"),
    path("ops/flower/", flower.flower, name="flower"),
    path("ops/flower/entrance/", flower.entrance, name="flower_entrance"),
    path("ops/alerts/", alerts.alerts, name="alerts"),
    path("ops/alerts/<int:alert_id>/", alerts.alert, name="alert"),
    path("ops/alerts/<int:alert_id>/acknowledge/", alerts.acknowledge, name="acknowledge"),
    path("ops/alerts/<int:alert_id>/resolve/", alerts.resolve, name="resolve"),
    path("ops/alerts/<int:alert_id>/mute/", alerts.mute, name="mute"),
    path("ops/alerts/<int:alert_id>/unmute/", alerts.unmute, name="unmute"),
    path("ops/alerts/<int:alert_id>/note/", alerts.note, name="note"),
    path("ops/runbook/", alerts.runbook, name="runbook"),
]
