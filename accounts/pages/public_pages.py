"""Pages that are the same for everybody: caches may keep them, and strangers cannot load the database with them.

Such a page reads no session and sets no cookie. So its template shows neither who is logged in nor a form.

Caches that others share keep it only under an address that names its language (`?lang=de`), as all links to it do.
Without that it is in the reader's language (`accounts.pages.languages`), and only the reader's browser keeps it: some
shared caches ignore `Vary`, and would show an English page to German readers.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any, cast

from django.core.cache import cache
from django.http import HttpRequest, HttpResponseBase
from django.utils.translation import get_language
from django.views.decorators.cache import cache_control
from django.views.decorators.http import conditional_page, require_safe

from accounts.pages.languages import named_language

View = Callable[..., HttpResponseBase]

RENDERED_SECONDS = 15  # for how long a rendered page is kept in Redis: so soon a new price is seen
KEPT_SECONDS = 60  # for how long browsers and proxies may show the page without asking


def public_page(kept_seconds: int = KEPT_SECONDS) -> Callable[[View], View]:
    """Decorate a view whose answer is the same for all who read its language. It has an ETag."""

    def decorate(view: View) -> View:
        marked: Any = conditional_page(public_answer(view))
        for_all = cache_control(public=True, max_age=kept_seconds)(marked)
        for_the_reader = cache_control(private=True, no_cache=True)(marked)

        @wraps(view)
        def respond(request: HttpRequest, *words: Any, **options: Any) -> HttpResponseBase:
            kept = for_all if named_language(request) else for_the_reader
            return cast(HttpResponseBase, kept(request, *words, **options))

        respond.is_public = True  # type: ignore[attr-defined]  # read by LanguageMiddleware
        return cast(View, require_safe(respond))

    return decorate


def public_answer(view: View) -> View:
    """Decorate a view that knows nobody: `private_pages` takes off the cookies that answer malformed ones."""

    @wraps(view)
    def respond(*words: Any, **options: Any) -> HttpResponseBase:
        response = view(*words, **options)
        response.is_public = True  # type: ignore[attr-defined]
        return response

    return respond


def render_once(name: str, render: Callable[[], str], seconds: int = RENDERED_SECONDS) -> str:
    """Return the HTML of a page, which is rendered about once in so many seconds for all processes together.

    Requests that come while it is rendered, and all while Redis is away, render it too.
    """
    return cast(str, cache.get_or_set(f"public-page:{get_language()}:{name}", render, seconds))
