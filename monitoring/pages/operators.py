"""Who may open the pages of operations."""

from collections.abc import Callable
from typing import Any

from django.contrib.auth.decorators import login_required, permission_required
from django.http import HttpResponse
from django.views.decorators.cache import never_cache

View = Callable[..., HttpResponse]


def operators_only(view: View) -> View:
    """Operators and superusers alone; others get 403, strangers the log-in. Nothing is cached."""
    allowed: Any = permission_required("inference.view_cataloguemodel", raise_exception=True)(view)
    protected: View = never_cache(login_required(allowed))
    return protected
