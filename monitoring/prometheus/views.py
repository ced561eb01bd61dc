"""The view of `/metrics`.

Most of what it tells is of the whole site, and every web process answers the same. The requests are those of the
machine that answers. Where several machines run web processes, Prometheus asks one of them for `?part=site` and each of
them for `?part=machine`, so that sums count nothing twice.
"""

import logging

from django.http import HttpRequest, HttpResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from monitoring.prometheus import processes, requests, site
from monitoring.prometheus.access import is_switched_on, may_scrape

logger = logging.getLogger(__name__)

SITE, MACHINE = PARTS = ("site", "machine")


@require_safe
@never_cache
def metrics(request: HttpRequest) -> HttpResponse:
    """All metrics, or those of one part.

    404 where nobody may read them. Otherwise 401 without the right to: that there is such a page is no secret, and an
    operator whose token is wrong should see that in Prometheus.
    """
    if not is_switched_on():
        return HttpResponse("There are no metrics here.\n", status=404, content_type="text/plain")
    if not may_scrape(request):
        refused = HttpResponse("This needs the token of METRICS_TOKEN.\n", status=401, content_type="text/plain")
        refused["WWW-Authenticate"] = 'Bearer realm="metrics"'
        return refused
    part = request.GET.get("part", "")
    if part and part not in PARTS:
        return HttpResponse("`part` is `site` or `machine`.\n", status=400, content_type="text/plain")
    return HttpResponse(_read(part), content_type=CONTENT_TYPE_LATEST)


def _read(part: str) -> bytes:
    text = b""
    if part != MACHINE:
        text += generate_latest(site.registry())
    if part != SITE:
        text += _read_machine()
    return text


def _read_machine() -> bytes:
    """The requests of this machine; nothing if its files cannot be read, as on a full disk."""
    try:
        with processes.unchanged(waits=True):
            return generate_latest(requests.registry())
    except (OSError, ValueError) as error:
        logger.warning("metrics: requests cannot be read: %s", error)
        return b""
