"""Three users of Redis: none does what another does, or looks after the server, and production runs with no others."""

import os
import re

import pytest
import redis
from django.conf import settings
from django.core.cache import cache
from django.core.exceptions import ImproperlyConfigured

from core.redis_users import KEYS, might_of, refuse_mighty_users
from core.rest.throttles import count_in_minute
from deploy.local.embedded import redis_users
from inference import answer_cache
from inference.relay import open_streams
from monitoring import machine
from tests.core.postgresql.production import PRODUCTION, manage
from tests.support.databases.queue import clear_queue, take_tasks
from tests.support.databases.redis_admin import admin

OF_THE_SERVER = [
    ("CONFIG", "GET", "dir"),
    ("CONFIG", "SET", "maxmemory", "0"),
    ("ACL", "LIST"),
    ("SCRIPT", "FLUSH"),
    ("FUNCTION", "LIST"),
    ("FLUSHALL",),
    ("FLUSHDB",),
    ("KEYS", "*"),
    ("SCAN", "0"),
    ("CLIENT", "LIST"),
    ("MONITOR",),
    ("SAVE",),
    ("REPLICAOF", "NO", "ONE"),
    ("MODULE", "LIST"),
]
OF_THE_OTHERS = {
    "BROKER_REDIS_URL": [("GET", "answer:x"), ("SET", "minute:1:x", "0"), ("DEL", "generation:x")],
    "RELAY_REDIS_URL": [
        ("DEL", "generate.x"),
        ("DEL", "default"),
        ("SET", "unacked", "x"),
        ("PUBLISH", "/0.celery.pidbox", "x"),
        ("GET", "minute:1:x"),
    ],
    "CACHE_REDIS_URL": [("GET", "readyz"), ("DEL", "generation:x"), ("SET", "default", "x"), ("DEL", "mail")],
}


def ask(setting, command):
    with redis.Redis.from_url(getattr(settings, setting)) as client:
        return client.execute_command(*command)


@pytest.mark.parametrize("setting", KEYS)
def test_a_user_may_not_look_after_the_server_or_do_what_the_others_do(setting):
    for command in [*OF_THE_SERVER, *OF_THE_OTHERS[setting]]:
        with pytest.raises(redis.exceptions.NoPermissionError):
            ask(setting, command)
    assert might_of(setting) == []


def test_nobody_comes_in_without_a_name(settings):
    host = settings.BROKER_REDIS_URL.rpartition("@")[2]
    with redis.Redis.from_url(f"redis://{host}") as stranger, pytest.raises(redis.AuthenticationError):
        stranger.ping()


@pytest.mark.parametrize(
    "process",
    [
        ["-c", "import config.asgi"],
        ["-m", "celery", "-A", "config", "worker", "-n", "mighty@%h", "--pool=solo", "-Q", "nothing"],
        ["-m", "celery", "-A", "config", "beat", "--pidfile=", "--schedule={folder}/beat"],
    ],
    ids=["web", "worker", "beat"],
)
def test_no_process_of_production_starts_with_one_mighty_user(process, tmp_path):
    everything = dict.fromkeys(KEYS, settings.REDIS_ADMIN_URL)
    words = [word.format(folder=tmp_path) for word in process]
    begun = manage(os.environ["DATABASE_URL"], "", *words, **PRODUCTION, **everything)
    assert begun.returncode != 0
    assert "Tally does not run with such a user" in begun.stderr
    assert "may change the server's settings" in begun.stderr


@pytest.mark.parametrize(
    ("rights", "might"),
    [
        ("&*", "may publish to every channel"),  # such as the one by which workers are shut down
        ("+@all -@admin -@dangerous", "may search the server"),
    ],
)
def test_a_user_with_one_right_too_many_is_found(settings, rights, might):
    rules = redis_users.rules_of(redis_users.RELAY)
    admin().execute_command("ACL", "SETUSER", "careless", "reset", "on", ">careless", *rules.split(), *rights.split())
    try:
        settings.RELAY_REDIS_URL = f"redis://careless:careless@{settings.RELAY_REDIS_URL.rpartition('@')[2]}"
        assert might_of("RELAY_REDIS_URL") == [might]
    finally:
        admin().execute_command("ACL", "DELUSER", "careless")


def test_a_wrong_password_is_not_taken_for_a_server_that_is_away(settings):
    settings.DEMAND_RESTRICTED_REDIS_USERS = True
    settings.RELAY_REDIS_URL = re.sub("//[^@]*@", "//tally_relay:wrong@", settings.RELAY_REDIS_URL)
    with pytest.raises(ImproperlyConfigured, match="RELAY_REDIS_URL"):
        refuse_mighty_users()


def test_production_is_content_with_the_three():
    look = "import django; django.setup(); from core.redis_users import refuse_mighty_users as look; look()"
    begun = manage(os.environ["DATABASE_URL"], "", "-c", look, **PRODUCTION)
    assert begun.returncode == 0, begun.stderr


def test_the_page_for_operators_says_what_the_tests_run_with():
    page = (settings.BASE_DIR / "docs" / "redis-users.md").read_text()
    said = {
        name: " ".join(rules.split()) for name, rules in re.findall(r"^user (\w+) on >\S+ (.+)$", page, re.MULTILINE)
    }
    assert said == {user: redis_users.rules_of(user) for user in redis_users.USERS}


def test_a_worker_is_called_and_seen_without_a_refusal(alice):
    """Broker, remote control, cache, counting by script, and open streams; `ACL LOG` would name what was refused."""
    admin().acl_log_reset()
    clear_queue()
    take_tasks()
    assert cache.add("counted", 1, 5)
    assert cache.incr("counted") == 2
    assert count_in_minute(["x"], 1, 60) == [1]
    answer_cache.read_figures()
    open_streams._free(open_streams.take_slot(alice))
    assert machine.redis_answers()
    assert machine.read_queues()
    machine.read_workers()
    refused = {(entry["username"], entry["object"]) for entry in admin().acl_log()}
    # The log is the server's: a process of production that starts meanwhile, for another test, tries what it must not.
    tried = ("that-is-not-there", "that-nobody-hears", "scan", "config|get", "acl|users")
    refused = {(user, what) for user, what in refused if not what.endswith(tried)}
    assert {(user, what) for user, what in refused if user in redis_users.USERS} == set()


def test_some_urls_without_the_others_are_refused():
    variables = {"DJANGO_SETTINGS_MODULE": "config.settings.test", "REDIS_URL": "", "CACHE_REDIS_URL": ""}
    variables["SECRET_KEY"] = PRODUCTION["SECRET_KEY"]
    begun = manage(os.environ["DATABASE_URL"], "", "-c", "import django; django.setup()", **variables)
    assert begun.returncode != 0
    assert "docs/redis-users.md" in begun.stderr
