"""The entrypoint, the health check and the copy of static files, as they run in the images."""

import os
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
from django.conf import settings

from deploy import roles
from deploy.container import entrypoint, health, static_files


@pytest.fixture
def ready(tmp_path, monkeypatch):
    """A READY_DIR."""
    folder = tmp_path / "ready"
    folder.mkdir()
    monkeypatch.setenv("READY_DIR", str(folder))
    return folder


@pytest.fixture
def server(monkeypatch):
    """A web server in the place of Tally's: `asked` are the paths and hosts, `status` is its answer."""

    class Handler(BaseHTTPRequestHandler):
        asked, status = [], 200

        def do_GET(self):
            self.asked.append((self.path, self.headers["Host"]))
            self.send_response(type(self).status)
            self.end_headers()

        def log_message(self, *_arguments):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = Thread(target=running.serve_forever)
        thread.start()
        monkeypatch.setattr(health, "WEB_PORT", running.server_port)
        monkeypatch.setattr(health, "FLOWER_PORT", running.server_port)
        yield Handler
        running.shutdown()
        thread.join()


def test_a_worker_is_well_once_it_takes_tasks_and_while_it_says_so(ready):
    (ready / "role").write_text("worker-mail")
    assert health.find_fault() == "it does not take tasks yet"
    (ready / "mail").touch()
    assert "silent" in health.find_fault()
    (ready / "mail.alive").touch()
    assert health.find_fault() == ""
    silent = time.time() - 60
    os.utime(ready / "mail.alive", (silent, silent))
    assert health.find_fault() == "it has been silent for 60 s"


def test_the_web_server_is_asked_under_a_host_of_its_own(ready, server, monkeypatch):
    monkeypatch.setenv("ALLOWED_HOSTS", "tally.example.com,other.example.com")
    (ready / "role").write_text("web")
    assert health.find_fault() == ""
    server.status = 500
    assert health.find_fault() == "/healthz answers 500"
    assert server.asked == [("/healthz", "tally.example.com")] * 2


def test_flower_is_asked_below_its_prefix(ready, server, monkeypatch):
    monkeypatch.setenv("FLOWER_URL_PREFIX", "flower")
    (ready / "role").write_text("flower")
    assert health.find_fault() == ""
    assert [path for path, _host in server.asked] == ["/flower/healthcheck"]


def test_the_exit_status_tells_docker(ready):
    for role, status in (("beat", 1), ("manage", 0)):
        (ready / "role").write_text(role)
        done = subprocess.run([sys.executable, "-m", "deploy.container.health"], cwd=settings.BASE_DIR, check=False)
        assert done.returncode == status, role


@pytest.fixture
def become(monkeypatch, ready):
    """Note what the entrypoint would become. It goes into the project's folder, which we leave again."""
    seen = []
    monkeypatch.setattr(os, "execv", lambda program, words: seen.append([program, *words[1:]]))
    monkeypatch.chdir(settings.BASE_DIR)
    (ready / "gpu.alive").touch()
    return seen


def test_a_role_becomes_the_process_that_startup_has_too(become, ready):
    entrypoint.main(["worker", "gemma-3-1b", "smollm2-135m"])
    entrypoint.main(["worker-mail"])
    queues = "generate.gemma-3-1b,generate.smollm2-135m"
    assert become == [
        [sys.executable, "-m", *roles.gpu_worker(queues, threads="64")],
        [sys.executable, "-m", *roles.side_worker("mail")],
    ]
    assert [file.name for file in ready.iterdir()] == ["role"], "what an earlier process left there is gone"
    assert health.role_file().read_text() == "worker-mail"


def test_only_signs_of_life_are_removed_and_an_empty_setting_is_the_default(become, ready, monkeypatch):
    (ready / "weights").write_text("somebody's")
    (ready / "beat.alive").touch()
    entrypoint.main(["worker-mail"])
    assert sorted(file.name for file in ready.iterdir()) == ["role", "weights"]
    monkeypatch.setenv("READY_DIR", "")
    assert health.directory() == Path("/tmp/ready")


def test_a_command_gets_the_token_of_the_hub_from_its_file(become, tmp_path, monkeypatch):
    (tmp_path / "token").write_text("hf_secret\n")
    monkeypatch.setenv("HF_TOKEN_FILE", str(tmp_path / "token"))
    monkeypatch.setenv("HF_TOKEN", "")
    entrypoint.main(["manage", "prepare_models"])
    assert os.environ["HF_TOKEN"] == "hf_secret"
    assert become == [[sys.executable, "manage.py", "prepare_models"]]


@pytest.mark.parametrize("words", [[], ["webb"], ["worker"]])
def test_what_is_no_role_ends_with_words(become, words):
    with pytest.raises(SystemExit, match=r"role|name the models"):
        entrypoint.main(words)
    assert become == []


def test_static_files_of_earlier_versions_stay(tmp_path):
    source, target = tmp_path / "image", tmp_path / "volume"
    (source / "css").mkdir(parents=True)
    (source / "css" / "tally.111.css").write_text("old")
    (source / "staticfiles.json").write_text("1")
    assert static_files.copy(source, target) == 2
    (source / "css" / "tally.111.css").rename(source / "css" / "tally.222.css")
    (source / "staticfiles.json").write_text("2")
    assert static_files.copy(source, target) == 2
    assert sorted(file.name for file in (target / "css").iterdir()) == ["tally.111.css", "tally.222.css"]
    assert (target / "staticfiles.json").read_text() == "2"
    assert static_files.copy(source, target) == 1  # the list of them is always copied
