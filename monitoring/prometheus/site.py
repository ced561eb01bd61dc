"""What `/metrics` tells of the whole site. It is read at each scrape from the database and Redis.

So every web process answers the same, and nothing is told of a process that has ended. If one part cannot be read, it
is left out, and `tally_metrics_unread` says which.
"""

import logging
from collections.abc import Callable, Iterable, Iterator

import redis
from django.db import DatabaseError, InterfaceError
from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from monitoring.machine import BrokerAway, database_answers
from monitoring.prometheus import site_database, site_redis
from monitoring.totals.adding import limited_transaction

logger = logging.getLogger(__name__)

Part = Callable[[], Iterable[Metric]]
OF_DATABASE: dict[str, Part] = {
    "answers_now": site_database.read_answers_now,
    "holds": site_database.read_holds,
    "proofs": site_database.read_proofs,
    "postgresql": site_database.read_postgresql,
}
OF_REDIS: dict[str, Part] = {
    "queues": site_redis.read_queues,
    "answer_cache": site_redis.read_answer_cache,
    "workers": site_redis.read_workers,
}
AWAY = (DatabaseError, InterfaceError, redis.RedisError, BrokerAway)


class Site(Collector):
    """Reads all parts, each by itself."""

    def collect(self) -> Iterator[Metric]:
        """The metrics of all parts that can be read."""
        unread = GaugeMetricFamily(
            "tally_metrics_unread", "1 if a part of the metrics could not be read.", labels=["part"]
        )
        is_database_there = database_answers()
        parts = {"totals": site_database.read_totals, **OF_DATABASE, **OF_REDIS}
        for name, part in parts.items():
            needs_database = name not in OF_REDIS
            found = [] if needs_database and not is_database_there else _try_to_read(name, part)
            unread.add_metric([name], 0.0 if found else 1.0)
            yield from found
        yield unread


def _try_to_read(name: str, part: Part) -> list[Metric]:
    """The metrics of a part; none if it cannot be read."""
    try:
        if name in OF_DATABASE:
            with limited_transaction():
                return list(part())
        return list(part())
    except AWAY as error:
        logger.warning("metrics: %s cannot be read: %s", name, str(error).strip())
    except Exception:
        logger.exception("metrics: %s cannot be read", name)
    return []


def registry() -> CollectorRegistry:
    """The metrics of the site, to be written for a scrape."""
    made = CollectorRegistry()
    made.register(Site())
    return made
