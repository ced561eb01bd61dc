"""The page of what one logs in with: address, password, second factor. It leads to allauth's pages to change them."""

from allauth.account.models import EmailAddress
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from accounts.callers.requests import Request
from accounts.login.second_factor import describe


@require_safe
@login_required
def signing_in(request: Request) -> HttpResponse:
    """What is set."""
    addresses = list(EmailAddress.objects.filter(user=request.user))
    context = {
        "heading": _("Settings"),
        "section": "signing_in",
        "waiting": [address.email for address in addresses if not address.verified],
        "factor": describe(request.user),
    }
    return render(request, "accounts/settings/signing_in.html", context)
