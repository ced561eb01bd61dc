"""Every URL of the site, with one include for each app."""

from allauth.account import views as account_views
from allauth.account.decorators import secure_admin_login
from django.contrib import admin
from django.db import transaction
from django.urls import include, path, re_path

from accounts.pages.languages import choose_language
from accounts.pages.open_login import open_login

admin.site.login = secure_admin_login(admin.site.login)  # type: ignore[method-assign]
admin.site.site_header = "Tally"
admin.site.site_title = "Tally"

# A change of an account and the mail about it are written in one transaction.
account_changes = [
    path("accounts/email/", transaction.atomic(account_views.email), name="account_email"),
    path(
        "accounts/password/change/", transaction.atomic(account_views.password_change), name="account_change_password"
    ),
    path("accounts/password/set/", transaction.atomic(account_views.password_set), name="account_set_password"),
    re_path(
        r"^accounts/password/reset/key/(?P<uidb36>[0-9A-Za-z]+)-(?P<key>.+)/$",
        transaction.atomic(account_views.password_reset_from_key),
        name="account_reset_password_from_key",
    ),
]

urlpatterns = [
    path("admin/", admin.site.urls),
    *account_changes,
    path("accounts/open/<str:token>/", open_login, name="account_open_login"),
    path("accounts/", include("allauth.urls")),
    path("language/", choose_language, name="choose_language"),
    path("credits/", include("billing.pages.urls")),
    path("v1/", include("inference.openai.urls")),
    path("api/v1/", include("config.api_urls")),
    path("", include("monitoring.urls")),
    path("", include("monitoring.pages.urls")),
    path("", include("chat.pages.urls")),
]
