"""All of Tally with PgBouncer in transaction mode between it and PostgreSQL."""

import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from deploy.local.embedded.servers import PostgresServer
from tests.core.postgresql import pgbouncer
from tests.faults.customers import Customer
from tests.support.stack import Stack

pytestmark = pytest.mark.skipif(not pgbouncer.IS_HERE, reason="PgBouncer is not installed (apt-get install pgbouncer)")
CONNECTIONS = 4  # the six processes that use the database could open over a hundred


class PooledStack(Stack):
    """A stack whose application reaches PostgreSQL through PgBouncer, and whose `migrate` does not."""

    def __init__(self, directory: Path, behind: str, owner: str) -> None:
        super().__init__(directory)
        self._urls = {"DATABASE_URL": behind, "DATABASE_OWNER_URL": owner, "PGBOUNCER": "true"}

    def _environment(self):
        return super()._environment() | self._urls


@pytest.fixture(scope="module")
def pooled(tmp_path_factory):
    directory = tmp_path_factory.mktemp("pooled")
    server = PostgresServer(directory / "postgresql", preferred_port=0)
    server.start()
    try:
        with (
            tempfile.TemporaryDirectory() as readable,
            pgbouncer.pgbouncer_before(server.url, Path(readable), CONNECTIONS) as behind,
        ):
            stack = PooledStack(directory, behind, server.owner_url)
            stack.start()
            yield stack
            stack.stop()
    finally:
        server.delete()


def servers_used(stack):
    """The connections that PostgreSQL has from the application's role."""
    [(count,)] = stack.query("SELECT count(*) FROM pg_stat_activity WHERE usename = 'tally_app'")
    return count


def test_answers_are_held_settled_and_proven_over_a_few_connections(pooled):
    customers = [Customer(pooled) for _ in range(3)]
    with ThreadPoolExecutor(12) as threads:
        asked = [threads.submit(customer.ask, 8) for customer in customers for _ in range(8)]
        answers = [each.result() for each in asked]
    assert [status for status, _answer in answers] == [201] * 24
    assert 1 <= servers_used(pooled) <= CONNECTIONS
    for customer in customers:
        customer.wait_ended()
        customer.demand_exact_charge()
    thread, lines = customers[0].stream(12)
    thread.join(60)
    assert lines[-1] == "[DONE]"
    pooled.verify_ledger()
