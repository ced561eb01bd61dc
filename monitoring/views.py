"""Health for load balancers and supervisors."""

from django.http import HttpRequest, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from monitoring.machine import database_answers, redis_answers


@require_safe
@never_cache
def healthz(_request: HttpRequest) -> JsonResponse:
    """200 while the process answers at all."""
    return JsonResponse({"status": "ok"})


@require_safe
@never_cache
def readyz(_request: HttpRequest) -> JsonResponse:
    """200 when PostgreSQL and Redis answer, 503 and which does not otherwise."""
    checks = {"database": database_answers(), "redis": redis_answers()}
    return JsonResponse(checks, status=200 if all(checks.values()) else 503)
