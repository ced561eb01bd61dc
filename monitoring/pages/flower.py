"""The way to Flower, which shows and steers the workers: for operators alone, behind Tally's own log-in.

Flower is another program. The proxy asks `entrance` before it passes a request on to it (deploy/nginx); Flower wants
its own password besides.
"""

from django.conf import settings
from django.contrib.auth.decorators import login_required, permission_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from accounts.staff.entrance import missing_step

PERMISSION = "inference.view_cataloguemodel"


@require_safe
@never_cache
@login_required
@permission_required(PERMISSION, raise_exception=True)
def flower(_request: HttpRequest) -> HttpResponse:
    """Lead an operator, who by now has given a second factor, to Flower."""
    return redirect(settings.FLOWER_URL)


@require_safe
@never_cache
def entrance(request: HttpRequest) -> HttpResponse:
    """Tell the proxy whether whoever sends these cookies may enter Flower.

    204 means yes. 401 means that a log-in or a second factor is missing, and that `flower` asks for it. 403 means no.
    """
    if not request.user.is_authenticated:
        return HttpResponse(status=401)
    if not request.user.has_perm(PERMISSION):
        return HttpResponse(status=403)
    return HttpResponse(status=401 if missing_step(request, back="/") else 204)
