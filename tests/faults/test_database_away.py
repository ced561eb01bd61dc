"""The database is away at the very moment an answer ends: the worker and whoever follows the answer wait for it."""

import asyncio
import time
from contextlib import contextmanager

import pytest
from django.db import OperationalError, connection

from core.postgresql.retrying import try_again_while_the_database_is_away
from inference.engine.fake import FakeEngine
from inference.models import GenerationState
from inference.relay import streams
from inference.relay import writer as relay_writer
from inference.relay.following import follow_to_end, is_live
from inference.worker.worker import Worker
from tests.inference.asking import COMPLETION, PROMPT, ask, charge, in_thread, wait_for
from tests.inference.engines import give_engine
from tests.support.cast import begin
from tests.support.databases import owner

pytestmark = pytest.mark.django_db(transaction=True)


@contextmanager
def database_away():
    """PostgreSQL ends all connections to the test database and takes no new ones, as while it restarts."""
    name = connection.settings_dict["NAME"]
    connection.close()
    with owner.connect("postgres") as door:
        door.autocommit = True
        door.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
        try:
            door.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
            yield
        finally:
            door.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')


def test_an_answer_that_ends_while_the_database_is_away_is_charged_once_it_is_back(alice, catalogue, faults):
    worker = Worker()
    engine = give_engine(worker, FakeEngine(step_seconds=0.05))
    generation = ask(alice, catalogue, max_tokens=20)
    thread = in_thread(worker.serve, generation.model_id)
    wait_for(lambda: streams.read_text(generation.pk)[1] > 2)
    with database_away():
        wait_for(lambda: not engine._cancelled)  # it has written its last token
        time.sleep(1)
        assert thread.is_alive()
    thread.join(timeout=30)
    assert not thread.is_alive()
    generation.refresh_from_db()
    assert (generation.state, generation.completion_tokens) == (GenerationState.COMPLETED, 20)
    assert charge(alice) == (generation.prompt_tokens * PROMPT + 20 * COMPLETION, 0)
    assert faults() == []


def test_who_follows_a_silent_answer_waits_for_the_database(alice, catalogue):
    generation = ask(alice, catalogue)
    begin(generation)

    async def follow():
        return [chunk.text async for chunks, _found in follow_to_end(generation.pk, is_live) for chunk in chunks]

    texts = []
    thread = in_thread(lambda: texts.append("".join(asyncio.run(follow()))))
    with database_away():
        time.sleep(4)  # a silent answer is looked up every two seconds
    assert thread.is_alive()
    writer = relay_writer.RelayWriter(generation.pk)
    writer.write("at last", 2)
    writer.end("completed")
    thread.join(timeout=15)
    assert texts == ["at last"]


def test_patience_has_an_end(db):
    def fail():
        raise OperationalError("still away")

    began = time.monotonic()
    with pytest.raises(OperationalError, match="still away"):
        try_again_while_the_database_is_away(fail, patience_seconds=1)
    assert 1 <= time.monotonic() - began < 5
