"""allauth's pages that belong to the settings, with their heading. They stand before allauth's own URLs.

A change of an account and the mail about it are written in one transaction.
"""

from collections.abc import Callable
from typing import Any

from allauth.account import views as account
from allauth.mfa.recovery_codes import views as recovery_codes
from allauth.mfa.totp import views as apps
from allauth.mfa.webauthn import views as passkeys
from django.db import transaction
from django.http import HttpResponseBase
from django.urls import URLPattern, path
from django.utils.translation import gettext_lazy as _
from django.views.generic import RedirectView

from accounts.pages.settings.second_factor import SecondFactor


def _page(route: str, view: Any, name: str) -> URLPattern:
    context = {"heading": _("Settings"), "section": "signing_in"}
    handle: Callable[..., HttpResponseBase] = transaction.atomic(view.as_view(extra_context=context))
    return path(route, handle, name=name)


urlpatterns = [
    _page("email/", account.EmailView, "account_email"),
    _page("password/change/", account.PasswordChangeView, "account_change_password"),
    _page("2fa/", SecondFactor, "mfa_index"),
    _page("2fa/totp/activate/", apps.ActivateTOTPView, "mfa_activate_totp"),
    _page("2fa/totp/deactivate/", apps.DeactivateTOTPView, "mfa_deactivate_totp"),
    _page("2fa/recovery-codes/", recovery_codes.ViewRecoveryCodesView, "mfa_view_recovery_codes"),
    _page("2fa/recovery-codes/generate/", recovery_codes.GenerateRecoveryCodesView, "mfa_generate_recovery_codes"),
    path("2fa/webauthn/", RedirectView.as_view(pattern_name="mfa_index"), name="mfa_list_webauthn"),
    _page("2fa/webauthn/add/", passkeys.AddWebAuthnView, "mfa_add_webauthn"),
    _page("2fa/webauthn/keys/<int:pk>/remove/", passkeys.RemoveWebAuthnView, "mfa_remove_webauthn"),
    _page("2fa/webauthn/keys/<int:pk>/edit/", passkeys.EditWebAuthnView, "mfa_edit_webauthn"),
]
