"""The operator's own texts as pages: terms and privacy. Each is Markdown, read at the start from a file or variable."""

from functools import lru_cache

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.utils.translation import get_language
from django.utils.translation import gettext as _

from accounts.pages.public_pages import public_page

MARK = "# "  # begins a heading of the first rank in Markdown


@public_page()
def terms(_request: HttpRequest) -> HttpResponse:
    """What customers agree to. A 404 unless the operator wrote it."""
    return _show(settings.TERMS, _("Terms"))


@public_page()
def privacy(_request: HttpRequest) -> HttpResponse:
    """What happens with customers' data. A 404 unless the operator wrote it."""
    return _show(settings.PRIVACY, _("Privacy"))


def _show(text: str, heading: str) -> HttpResponse:
    if not text:
        raise Http404
    return HttpResponse(_render(text, heading, get_language()))


@lru_cache(maxsize=4)
def _render(text: str, heading: str, _language: str) -> str:
    """The page as HTML, kept for each language. A heading in the text's first line becomes that of the page."""
    first, _newline, rest = text.partition("\n")
    if first.startswith(MARK) and (title := first.removeprefix(MARK).strip()):
        heading, text = title, rest
    return render_to_string("chat/front/text.html", {"heading": heading, "text": text})
