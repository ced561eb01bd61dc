"""Every route of the API."""

from collections.abc import Iterator
from typing import Any

from django.urls import URLPattern, get_resolver

METHODS = ("get", "post", "put", "patch", "delete")


def routes(patterns: Any = None) -> Iterator[URLPattern]:
    """Every pattern under the namespace `api`."""
    if patterns is None:
        [found] = [entry for entry in get_resolver().url_patterns if getattr(entry, "namespace", None) == "api"]
        patterns = found.url_patterns
    for entry in patterns:
        if isinstance(entry, URLPattern):
            yield entry
        else:
            yield from routes(entry.url_patterns)


def methods_of(route: URLPattern) -> list[str]:
    view = getattr(route.callback, "cls", None)
    if route.name == "unknown":
        return ["get", "post"]
    return ["get"] if view is None else [method for method in METHODS if hasattr(view, method)]
