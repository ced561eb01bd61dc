"""Health checks for load balancers and supervisors."""

from django.http import HttpRequest, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from monitoring.machine import database_answers, redis_answers, unserved_models


@require_safe
@never_cache
def healthz(_request: HttpRequest) -> JsonResponse:
    """200 while the process answers at all."""
    return JsonResponse({"status": "ok"})


@require_safe
@never_cache
def readyz(_request: HttpRequest) -> JsonResponse:
    """200 if PostgreSQL answers, Redis accepts writes and every model on offer has a GPU worker; otherwise 503.

    The body names in `missing` what is missing.
    """
    checks = {"database": database_answers(), "redis": redis_answers(), "workers": False}
    missing = [name for name in ("database", "redis") if not checks[name]]
    if not missing:
        unserved = unserved_models()
        checks["workers"] = not unserved
        missing = [f"a GPU worker for {key}" for key in unserved]
    return JsonResponse({**checks, "missing": missing}, status=503 if missing else 200)
