"""Every URL of the site, an include an app."""

from allauth.account.decorators import secure_admin_login
from django.contrib import admin
from django.urls import include, path

admin.site.login = secure_admin_login(admin.site.login)  # type: ignore[method-assign]
admin.site.site_header = "Tally"
admin.site.site_title = "Tally"

urlpatterns = [
    path("admin/", admin.site.urls),
    path("accounts/", include("allauth.urls")),
    path("credits/", include("billing.urls")),
    path("v1/", include("inference.openai_urls")),
    path("api/v1/", include("config.api_urls")),
    path("", include("monitoring.urls")),
    path("", include("chat.urls")),
]
