"""Who watches: a worker that is killed, a worker that ends as it should, beat that is silent, Redis that is full."""

import os
import signal
import subprocess
import sys
from datetime import timedelta

import pytest
from django.conf import settings as django_settings
from django.db import connection
from django.utils import timezone

from core.redis_clients import connect
from deploy.local.embedded.servers import RedisServer
from inference import answer_cache
from monitoring import processes
from monitoring.alerts import watching
from monitoring.models import Alert, AlertRound, ProcessReport
from monitoring.tasks import apply_rules
from tests.monitoring.alerts.going import go, later, states, subjects
from tests.support.stack import wait_until

NODE = "watched@here"


@pytest.fixture
def celery_worker(transactional_db):
    """A real worker in a process of its own, with the database of the tests."""
    login = connection.settings_dict
    url = f"postgres://{login['USER']}:{login['PASSWORD']}@{login['HOST']}:{login['PORT']}/{login['NAME']}"
    environment = os.environ | {"DJANGO_SETTINGS_MODULE": "config.settings.local", "DATABASE_URL": url}
    environment |= {"SECRET_KEY": django_settings.SECRET_KEY, "DATABASE_POOL_SIZE": "4"}
    environment.pop("PYTEST_XDIST_WORKER", None)
    command = ["-m", "celery", "-A", "config", "worker", "-n", NODE, "-Q", "default-nothing", "--pool=threads"]
    command += ["--concurrency=1", "--without-gossip", "--without-mingle", "--without-heartbeat"]
    running = subprocess.Popen([sys.executable, *command], env=environment, cwd=django_settings.BASE_DIR)
    yield running
    running.kill()
    running.wait()


def is_known():
    return ProcessReport.objects.filter(name=NODE, is_worker=True).exists()


@pytest.mark.django_db(transaction=True)
def test_a_worker_that_is_killed_is_silent_until_it_reports_again(celery_worker, operator, quiet):
    wait_until(is_known, 60, "the worker has reported")
    go(0)
    celery_worker.kill()
    celery_worker.wait()
    go(61)
    assert states("worker_silent") == ["open"]
    go(91)
    title = f"Worker {NODE} is silent"
    assert subjects(title) == [f"Tally: warning: {title}"]
    with later(120):
        processes.report(NODE, is_worker=True)
    go(121)
    with later(421):
        processes.report(NODE, is_worker=True)
    go(422)
    assert states("worker_silent") == ["closed"]
    assert subjects(title)[1:] == [f"Tally: closed: {title}"]


@pytest.mark.django_db(transaction=True)
def test_a_worker_that_ends_as_it_should_is_not_called_silent(celery_worker, operator, quiet):
    wait_until(is_known, 60, "the worker has reported")
    celery_worker.send_signal(signal.SIGTERM)
    assert celery_worker.wait(60) == 0
    assert not is_known()
    go(61)
    assert states("worker_silent") == []


def test_a_worker_that_is_gone_for_good_is_forgotten_after_a_day(db):
    processes.report(NODE, is_worker=True)
    assert processes.forget_the_lost() == 0
    ProcessReport.objects.update(heard_at=timezone.now() - timedelta(days=2))
    assert processes.forget_the_lost() == 1


def test_another_process_than_beat_sees_that_beat_is_silent(operator, quiet, catalogue):
    def look_around(seconds):
        with later(seconds):
            watching.look_around("web@here", is_worker=False)
        return states("beat_silent")

    apply_rules()
    done_at = AlertRound.objects.get().done_at
    assert look_around(60) == []
    assert AlertRound.objects.get().done_at == done_at  # beat does the rounds
    assert look_around(130) == ["open"]
    assert look_around(150) == ["open"]
    assert subjects("Beat is silent") == ["Tally: critical: Beat is silent"]
    with later(300):
        apply_rules()
    with later(301 + 299):
        apply_rules()
    assert states("beat_silent") == ["closed"]
    assert subjects("Beat is silent")[1:] == ["Tally: closed: Beat is silent"]


def test_a_beat_that_never_came_is_silent_too(operator, quiet, catalogue):
    watching.look_around("web@here", is_worker=False)
    with later(121):
        watching.look_around("web@here", is_worker=False)
    assert states("beat_silent") == ["open"]


def test_of_two_rounds_at_once_one_is_done(operator, quiet):
    apply_rules()
    before = AlertRound.objects.get().done_at
    apply_rules()
    assert AlertRound.objects.get().done_at == before


@pytest.fixture
def full_redis(tmp_path, settings):
    """A Redis of its own, which throws away what does not fit."""
    server = RedisServer(tmp_path / "redis", preferred_port=0)
    server.start()
    settings.CACHE_REDIS_URL = server.user_urls()["CACHE_REDIS_URL"]
    answer_cache.connection.cache_clear()
    boss = connect(server.url, answer_seconds=5)
    yield boss
    boss.close()
    answer_cache.connection.cache_clear()
    server.delete()


def test_a_redis_that_throws_data_away_is_seen(full_redis, operator, quiet, catalogue):
    go(0)
    full_redis.config_set("maxmemory-policy", "allkeys-lru")
    full_redis.config_set("maxmemory", full_redis.info("memory")["used_memory"] + 200_000)
    for number in range(100):
        full_redis.set(f"answer:{number}", "x" * 10_000)
    assert full_redis.info("stats")["evicted_keys"] > 0
    go(16)
    assert states("redis_evicting", "cache") == ["open"]
    go(32)
    assert Alert.objects.get(rule="redis_evicting").fine_since
    go(340)
    assert states("redis_evicting", "cache") == ["closed"]
    assert len(subjects("Redis throws data away")) == 2
