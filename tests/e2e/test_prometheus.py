"""A real Prometheus scrapes three web processes and two GPU workers, and answers what the dashboard asks."""

import json
import math
import os
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from typing import Any

import httpx
import psutil
import pytest

from deploy import roles
from tests.e2e import prometheus
from tests.e2e.asking import STORY_TELLER
from tests.monitoring.prometheus.reading import parse
from tests.support.stack import ROOT, Stack, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.e2e, prometheus.needs_prometheus]

TOKEN = "a token that is long enough for Prometheus, and no other has it"
DASHBOARD = ROOT / "deploy" / "grafana" / "dashboards" / "tally.json"
SCRAPES = 20


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    """The whole stack with three web processes, and a second GPU worker beside it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WEB_WORKERS", "3")
        patch.setenv("METRICS_TOKEN", TOKEN)
        running = Stack(tmp_path_factory.mktemp("stack"))
        running.start()
    try:
        with second_worker(running, tmp_path_factory.mktemp("worker") / "log"):
            yield running
    finally:
        running.stop()


@contextmanager
def second_worker(stack, log_file):
    command = roles.gpu_worker("generate.gemma-3-270m,generate.smollm2-135m", threads="8")
    command = [word.replace("gpu@", "gpu2@") for word in command]
    environment = {
        **os.environ,
        **stack.redis.user_urls(),
        "DATABASE_URL": stack.runtime["database_url"],
        "SECRET_KEY": "for tests only, and as long as a signature wants it",
        "DJANGO_SETTINGS_MODULE": "config.settings.local",
    }
    for name in ("INFERENCE_ENGINE", "DATABASE_OWNER_URL", "READY_DIR"):
        environment.pop(name, None)
    options: dict[str, Any] = {"cwd": ROOT, "env": environment}
    with (
        log_file.open("w") as log,
        subprocess.Popen([sys.executable, "-m", *command], stdout=log, stderr=log, **options) as process,
    ):
        try:
            yield
        finally:
            process.terminate()
            process.wait(60)


@pytest.fixture(scope="module")
def ask(stack, key):
    """Call it for one short answer, which is paid for. Returns the status."""

    def once(stream=False, **options):
        body = {"model": STORY_TELLER, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 12}
        headers = {"Authorization": f"Bearer {key}"}
        return httpx.post(
            f"{stack.url}/v1/chat/completions", json={**body, "stream": stream, **options}, headers=headers, timeout=120
        ).status_code

    return once


@pytest.fixture
def asking(ask):
    """Answers are asked for again and again meanwhile; that some fail is part of the tests."""
    ended = threading.Event()

    def go_on():
        number = 0
        while not ended.is_set():
            number += 1
            with suppress(httpx.HTTPError):
                ask(stream=number % 2 == 0)

    threads = [threading.Thread(target=go_on) for _ in range(2)]
    for thread in threads:
        thread.start()
    yield
    ended.set()
    for thread in threads:
        thread.join()


@pytest.fixture
def scrape(stack):
    """Call it for one scrape, on a connection of its own, which any of the three processes may take."""

    def once():
        answer = httpx.get(f"{stack.url}/metrics", headers={"Authorization": f"Bearer {TOKEN}"}, timeout=20)
        assert answer.status_code == 200, answer.text
        return parse(answer.text)

    return once


def counters(series):
    """What rate() reads, without the requests that the scrapes themselves and the supervisor make."""
    ends, probes = (
        ("_total", "_bucket", "_sum", "_count"),
        {("route", name) for name in ("metrics", "healthz", "readyz")},
    )
    return {key: value for key, value in series.items() if key[0].endswith(ends) and not probes & set(key)}


def total(series, name, **labels):
    wanted = set(labels.items())
    return sum(value for (found, *given), value in series.items() if found == name and wanted <= set(given))


def test_twenty_scrapes_agree_with_each_other_and_with_the_database(stack, ask, scrape):
    assert [ask(stream=stream) for stream in (False, True, False)] == [200] * 3
    wait_until(lambda: total(scrape(), "tally_holds_active") == 0, 20, "all answers to be settled")
    first = scrape()
    scraped = [counters(scrape()) for _ in range(SCRAPES)]
    assert all(each == counters(first) for each in scraped)
    [[entries, spent]] = stack.query(
        "SELECT COUNT(*), -SUM(amount_microcredits) FROM billing_ledgerentry WHERE kind = 'usage'"
    )
    assert total(first, "tally_ledger_entries_total", kind="usage") == entries >= 3
    assert total(first, "tally_ledger_microcredits_total", kind="usage", direction="out") == spent
    [[prompt_tokens, tokens]] = stack.query(
        "SELECT SUM(prompt_tokens), SUM(completion_tokens) FROM billing_hold WHERE state = 'settled'"
    )
    assert total(first, "gen_ai_client_token_usage_sum", gen_ai_token_type="input") == prompt_tokens
    assert total(first, "gen_ai_client_token_usage_sum", gen_ai_token_type="output") == tokens
    [[owned]] = stack.query("SELECT SUM(balance_microcredits) FROM billing_wallet")
    assert total(first, "tally_credits_owned_microcredits") == owned
    assert total(first, "gen_ai_server_time_to_first_token_seconds_count") == entries


def test_no_counter_falls_when_processes_are_killed(stack, asking, scrape):
    before = counters(scrape())
    web = psutil.Process(stack.pid("web")).children()
    assert len(web) == 3
    for number in range(SCRAPES):
        if number == 3:
            web[0].kill()
        if number == 8:
            stack.kill("gpu-worker")
        with suppress(httpx.TransportError):  # the killed process had taken this connection
            after = counters(scrape())
            fallen = {key: (value, after.get(key)) for key, value in before.items() if after.get(key, 0) < value}
            assert fallen == {}
            before = after
        time.sleep(0.3)
    assert total(before, "tally_http_request_duration_seconds_count", route="openai:chat_completions") > 0
    wait_until(lambda: stack.pid("gpu-worker") and stack.runtime["healthy"], 90, "all to run again")


def test_after_all_that_the_numbers_still_agree(stack, scrape):
    wait_until(lambda: total(scrape(), "tally_holds_active") == 0, 60, "all answers to end")
    series = scrape()
    [[entries]] = stack.query("SELECT COUNT(*) FROM billing_ledgerentry WHERE kind = 'usage'")
    assert total(series, "tally_ledger_entries_total", kind="usage") == entries
    by_state = dict(stack.query("SELECT state, COUNT(*) FROM inference_generation GROUP BY state"))
    for state, count in by_state.items():
        assert total(series, "tally_answers_total", outcome=state) == count, by_state
    stack.verify_ledger()


def test_prometheus_reads_all_and_answers_every_query_of_the_dashboard(stack, ask, asking, tmp_path):
    program = "from billing.ledger.verification.proofs import prove; prove(); prove(is_since_last=True)"
    stack.manage("shell", "-c", program)
    token = tmp_path / "token"
    token.write_text(TOKEN)
    web, flower = stack.url.removeprefix("http://"), stack.runtime["flower_url"].removeprefix("http://")
    changes = {
        prometheus.TOKEN_FILE: str(token),
        "dns_sd_configs: [{names: [web], type: A, port: 8000}]": f'static_configs: [{{targets: ["{web}"]}}]',
        "web:8000": web,
        "flower:5555": flower,
        "/flower/metrics": "/metrics",  # here it has no prefix
        "15s": "1s",
    }
    with prometheus.running(tmp_path, changes) as client:
        wait_until(lambda: set(targets(client).values()) == {"up"}, 30, "every target to be up")
        assert len(targets(client)) == 3
        time.sleep(10)  # for rates over some scrapes
        wait_until(lambda: unanswered(client) == [], 60, f"data for {unanswered(client)}")
        groups = client.get("/api/v1/rules").json()["data"]["groups"]
        assert {rule["health"] for group in groups for rule in group["rules"]} == {"ok"}


def targets(client):
    found = client.get("/api/v1/targets").json()["data"]["activeTargets"]
    return {target["labels"]["job"]: target["health"] for target in found}


def queries():
    panels = json.loads(DASHBOARD.read_text())["panels"]
    return [target["expr"] for panel in panels for target in panel.get("targets", ())]


def unanswered(client):
    """The queries of the dashboard that bring no number, as Grafana would ask them."""
    return [query for query in queries() if not has_data(client, query)]


def has_data(client, query):
    query = query.replace("$__rate_interval", "30s").replace("$model", ".*")
    answer = client.get("/api/v1/query", params={"query": query}).json()
    assert answer["status"] == "success", (query, answer)
    return any(not math.isnan(float(result["value"][1])) for result in answer["data"]["result"])
