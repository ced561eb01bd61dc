"""The administrator of Redis, for tests that look at what belongs to several users, or empty it."""

from functools import cache

import redis
from django.conf import settings


@cache
def admin() -> "redis.Redis":
    """Its connections to the database of these tests."""
    return redis.Redis.from_url(settings.REDIS_ADMIN_URL, decode_responses=True)
