"""Redis pauses under a writer of the relay: readers get every text once, in order."""

import os
import signal
import time
from uuid import uuid4

import pytest
import redis

from deploy.local.embedded.servers import RedisServer
from inference.relay import streams
from inference.relay import writer as relay_writer


@pytest.fixture
def own_redis(tmp_path, monkeypatch):
    """A Redis that a test may stop, and the relay on it with short time-outs."""
    with RedisServer(tmp_path / "redis", preferred_port=0) as server:
        client = redis.Redis.from_url(server.url, decode_responses=True, socket_timeout=0.3, socket_connect_timeout=0.3)
        monkeypatch.setattr(streams, "connection", lambda: client)
        yield server
        client.close()


@pytest.mark.parametrize("pauses_at", [0, 1, 3])
def test_what_a_paused_redis_carries_out_later_is_not_read_twice(own_redis, pauses_at):
    generation_id = uuid4()
    writer = relay_writer.RelayWriter(generation_id)
    words = ["one ", "two ", "three ", "four "]
    for number, word in enumerate(words):
        if number == pauses_at:
            os.kill(own_redis.pid, signal.SIGSTOP)
        writer.write(word, number + 1)
        time.sleep(0.5)  # longer than the time-out: the server has it in its socket
        if number == pauses_at:
            os.kill(own_redis.pid, signal.SIGCONT)
    writer.end("completed")
    assert streams.read_text(generation_id) == ("".join(words), 4)
    entries = [fields for _id, fields in streams.connection().xrange(streams.stream_key(generation_id))]
    assert entries[-1]["state"] == "completed"
