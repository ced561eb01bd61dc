"""Every URL of the site, with one include for each app."""

from allauth.account import views as account_views
from allauth.account.decorators import secure_admin_login
from django.contrib import admin
from django.db import transaction
from django.urls import include, path, re_path
from django.views.generic import RedirectView

from accounts.pages.languages import choose_language
from accounts.pages.open_login import open_login
from accounts.pages.settings.urls import urlpatterns as personal_settings
from billing.pages.settings.urls import urlpatterns as money_settings

admin.site.login = secure_admin_login(admin.site.login)  # type: ignore[method-assign]


# A change of an account and the mail about it are written in one transaction.
account_changes = [
    path("accounts/", include("accounts.pages.settings.allauth_urls")),
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
    path("accounts/sessions/", RedirectView.as_view(pattern_name="settings:devices"), name="usersessions_list"),
    path("accounts/", include("allauth.urls")),
    path("settings/", include((personal_settings + money_settings, "settings"))),
    path("language/", choose_language, name="choose_language"),
    path("credits/", include("billing.pages.urls")),
    path("v1/", include("inference.openai.urls")),
    path("api/v1/", include("config.api_urls")),
    path("", include("monitoring.urls")),
    path("", include("monitoring.pages.urls")),
    path("", include("chat.pages.urls")),
]
