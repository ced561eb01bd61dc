"""Every path under /api/v1/, with one include for each app. An unknown path gets a problem (JSON), not a page."""

from django.urls import include, path, re_path

from accounts.callers.views import UnknownPath
from core.rest import docs

app_name = "api"
urlpatterns = [
    path("schema/", docs.schema, name="schema"),
    path("docs/", docs.swagger, name="docs"),
    path("redoc/", docs.redoc, name="redoc"),
    path("", include("accounts.api.urls")),
    path("", include("billing.api.urls")),
    path("", include("inference.api.urls")),
    path("", include("chat.api.urls")),
    path("", include("monitoring.api.urls")),
    re_path("^.*$", UnknownPath.as_view(), name="unknown"),
]
