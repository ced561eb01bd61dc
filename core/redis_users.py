"""Checks the rights of the Redis users: the broker, the relay and the cache each have their own (docs/redis-users.md).

Production refuses to run if a user has more rights than it needs. The check tries commands that a user must not run;
Redis records the refusals in its ACL LOG. A command that is allowed changes nothing, because the keys do not exist.
"""

import logging

import redis
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from core.redis_clients import connect

logger = logging.getLogger(__name__)

KEYS = {  # for each user, a key that it may use, and that does not exist
    "BROKER_REDIS_URL": "generate.a-model-that-is-not-there",
    "RELAY_REDIS_URL": "generation:one-that-is-not-there",
    "CACHE_REDIS_URL": "answer:one-that-is-not-there",
}


def might_of(setting: str) -> list[str]:
    """Return the rights that the user of this URL has but must not have. Raises RedisError."""
    tries = [
        ("may change the server's settings", ("CONFIG", "GET", "maxmemory")),
        ("may manage users", ("ACL", "USERS")),
        ("may search the server", ("SCAN", "0", "COUNT", "1")),
        ("may publish to every channel", ("PUBLISH", "a-channel-that-nobody-hears", "")),  # could shut workers down
    ]
    for other, key in KEYS.items():
        if other != setting:
            tries += [
                (f"may read what is for {other}", ("GET", key)),
                (f"may change what is for {other}", ("DEL", key)),
            ]
    with connect(getattr(settings, setting), answer_seconds=5, connect_seconds=2) as client:
        client.ping()
        return [might for might, command in tries if _is_let(client, command)]


def refuse_mighty_users() -> None:
    """Raise ImproperlyConfigured if a Redis user has too many rights or cannot log in.

    Checks nothing without DEMAND_RESTRICTED_REDIS_USERS. While Redis cannot be reached, only logs a warning.
    """
    if not settings.DEMAND_RESTRICTED_REDIS_USERS:
        return
    for setting in KEYS:
        try:
            might = might_of(setting)
        except redis.AuthenticationError as error:  # caught first: in redis-py it is a ConnectionError
            raise ImproperlyConfigured(f"Redis does not let the user of {setting} in: {error}") from error
        except (redis.ConnectionError, redis.TimeoutError) as error:
            logger.warning("the user of %s is not looked at: %s", setting, error)
            continue
        if might:
            raise ImproperlyConfigured(
                f"The Redis user of {setting} {', '.join(might)}. Tally does not run with such a user. Name one there"
                " that may do what docs/redis-users.md says, and no more."
            )


def _is_let(client: "redis.Redis", command: tuple[str, ...]) -> bool:
    try:
        client.execute_command(*command)  # type: ignore[no-untyped-call]
    except redis.ResponseError:
        return False
    return True
