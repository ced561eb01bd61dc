"""The page of log-ins: which devices are logged in, and how to end what one does not know."""

from uuid import UUID

from allauth.usersessions.models import UserSession
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST, require_safe

from accounts.callers.requests import Request
from accounts.login import own_devices
from accounts.models import ApiSession


@require_safe
@login_required
def devices(request: Request) -> HttpResponse:
    """The log-ins that are open: browsers, then programs."""
    own_devices.know_this_browser(request, request.user)
    context = {
        "heading": _("Settings"),
        "section": "devices",
        "browsers": own_devices.list_browsers(request, request.user),
        "programs": own_devices.list_programs(request.user),
    }
    return render(request, "accounts/settings/devices.html", context)


@require_POST
@login_required
def end_browser(request: Request, row_id: int) -> HttpResponse:
    """End the session of one browser."""
    row = get_object_or_404(UserSession.objects.filter(user=request.user), pk=row_id)
    own_devices.end_browser(row=row, by=request.user)
    messages.success(request, _("It is logged out"))
    return redirect("settings:devices")


@require_POST
@login_required
def end_program(request: Request, session_id: UUID) -> HttpResponse:
    """End one log-in through the API."""
    session = get_object_or_404(ApiSession.objects.for_user(request.user), pk=session_id)
    own_devices.end_program(session=session, by=request.user)
    messages.success(request, _("It is logged out"))
    return redirect("settings:devices")


@require_POST
@login_required
def end_all_others(request: Request) -> HttpResponse:
    """End every log-in but this one."""
    own_devices.end_all_others(request, request.user)
    messages.success(request, _("Everything else is logged out"))
    return redirect("settings:devices")
