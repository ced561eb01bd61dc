"""What lets a browser install Tally and open it without a connection: a manifest, a service worker, an offline page."""

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template.loader import render_to_string
from django.templatetags.static import static
from django.utils.translation import gettext as _

from accounts.pages.public_pages import public_page

GROUND = "#fdfcf9"  # --ground of tally.css in the light


@public_page()
def manifest(_request: HttpRequest) -> HttpResponse:
    """The web app manifest (https://www.w3.org/TR/appmanifest/)."""
    icon = {"src": static("tally.svg"), "type": "image/svg+xml", "sizes": "any"}
    shown = {
        "id": "/",
        "name": "Tally",
        "short_name": "Tally",
        "description": _("A chat that shows its price."),
        "start_url": "/",
        "display": "standalone",
        "background_color": GROUND,
        "theme_color": GROUND,
        "icons": [icon | {"purpose": "any"}, {**icon, "src": static("tally-maskable.svg"), "purpose": "maskable"}],
    }
    return JsonResponse(shown, content_type="application/manifest+json")


@public_page()
def service_worker(_request: HttpRequest) -> HttpResponse:
    """The script that shows the offline page when the server cannot be reached."""
    return HttpResponse(render_to_string("chat/installing/service_worker.js"), content_type="text/javascript")


@public_page()
def offline(_request: HttpRequest) -> HttpResponse:
    """The page that a browser keeps for the time without a connection."""
    return HttpResponse(render_to_string("chat/installing/offline.html"))
