"""What `/metrics` tells of the site agrees with the database and Redis, and a part that is away is left out."""

import re

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from billing.ledger.verification.proofs import prove
from billing.models import Wallet
from inference import answer_cache
from inference.relay import streams
from monitoring import machine
from tests.inference.asking import ask
from tests.support.cast import answered_talk, begin
from tests.support.databases.owner import connect

MODEL = "gen_ai_request_model"


def of(series, name, **labels):
    return series[(name, *sorted(labels.items()))]


def unread(series):
    return {labels[0][1] for (name, *labels), value in series.items() if name == "tally_metrics_unread" and value}


def test_what_was_charged(scrape, alice, catalogue):
    answered_talk(alice, catalogue)
    series = scrape()
    assert unread(series) == set()
    key = catalogue.key
    assert of(series, "tally_answers_total", **{MODEL: key, "outcome": "completed"}) == 1
    usage = {MODEL: key, "gen_ai_token_type": "input"}
    assert of(series, "gen_ai_client_token_usage_sum", **usage) == 20
    assert of(series, "gen_ai_client_token_usage_bucket", **usage, le="16.0") == 0
    assert of(series, "gen_ai_client_token_usage_bucket", **usage, le="64.0") == 1
    assert of(series, "gen_ai_client_token_usage_bucket", **usage, le="+Inf") == 1
    balances = sum(wallet.balance_microcredits for wallet in Wallet.objects.all())
    assert of(series, "tally_credits_owned_microcredits") == balances
    assert of(series, "tally_ledger_microcredits_total", kind="usage", direction="out") == 20 * 20 + 3 * 40


def test_what_waits_and_runs(scrape, alice, catalogue):
    begin(ask(alice, catalogue))
    waiting = ask(alice, catalogue, text="another")
    series = scrape()
    assert of(series, "tally_answers_now", **{MODEL: catalogue.key}, state="queued") == 1
    assert of(series, "tally_answers_now", **{MODEL: catalogue.key}, state="running") == 1
    assert 0 <= of(series, "tally_queue_oldest_seconds", **{MODEL: catalogue.key}) < 60
    assert (of(series, "tally_holds_active"), of(series, "tally_holds_stuck")) == (2, 0)
    alice.wallet.refresh_from_db()
    assert of(series, "tally_holds_microcredits") == alice.wallet.held_microcredits
    assert of(series, "tally_broker_tasks", queue=f"generate.{catalogue.key}") >= 0
    assert of(series, "tally_model_available", **{MODEL: waiting.model_id}) == 1


def test_a_hold_that_outlived_its_time_is_stuck(scrape, alice, catalogue, settings):
    settings.HOLD_LIFETIME_SECONDS = -1
    ask(alice, catalogue)
    assert of(scrape(), "tally_holds_stuck") == 1


def test_workers_and_what_they_have_loaded(scrape, catalogue, worker):
    model = {"key": catalogue.key, "state": "ready", "memory_bytes": 5, "running": 1, "waiting": 0, "last_used_at": 0.0}
    from inference.worker.contracts import LoadedModel

    worker(catalogue.key, models=[LoadedModel(**model)], running=3, process_bytes=7)
    series = scrape()
    assert of(series, "tally_worker_up", worker="test", device="cpu") == 1
    assert of(series, "tally_worker_answers", worker="test") == 3
    assert of(series, "tally_model_workers", **{MODEL: catalogue.key}) == 1
    assert of(series, "tally_worker_model_bytes", worker="test", **{MODEL: catalogue.key}) == 5
    assert of(series, "tally_worker_model_ready", worker="test", **{MODEL: catalogue.key}) == 1


def test_a_worker_that_stops_serves_no_model(scrape, catalogue, worker):
    worker(catalogue.key, is_stopping=True)
    series = scrape()
    assert of(series, "tally_worker_up", worker="test", device="cpu") == 0
    assert ("tally_model_workers", (MODEL, catalogue.key)) not in series


def test_nothing_is_told_of_a_worker_that_is_gone(scrape, catalogue):
    assert not [name for name, *_labels in scrape() if name.startswith("tally_worker_")]


def test_the_last_proofs(scrape, alice):
    began = timezone.now().timestamp()
    prove()
    series = scrape()
    assert of(series, "tally_ledger_faults", kind="everything") == 0
    assert of(series, "tally_ledger_proof_timestamp_seconds", kind="everything") >= began
    assert ("tally_ledger_faults", ("kind", "new")) not in series


def test_postgresql(scrape):
    series = scrape()
    assert of(series, "tally_database_connections", state="active") >= 1
    assert of(series, "tally_database_connections_limit") > 10
    assert of(series, "tally_database_bytes") > 1_000_000


def test_the_answer_cache(scrape, alice):
    answer_cache.connection().hincrby(answer_cache.COUNTS, answer_cache.HITS, 3)
    assert of(scrape(), "tally_answer_cache_requests_total", result="hit") == 3


def test_a_redis_that_is_away_leaves_the_rest(scrape, alice, settings):
    """Its keys gone are no error at all: there is just nothing to tell of them."""
    for name in ("BROKER_REDIS_URL", "RELAY_REDIS_URL", "CACHE_REDIS_URL"):
        setattr(settings, name, "redis://127.0.0.1:1/0")
    made = (machine.broker_connection, streams.connection, answer_cache.connection)
    for connected in made:
        connected.cache_clear()
    try:
        series = scrape()
    finally:
        for connected in made:
            connected.cache_clear()
    assert unread(series) == {"queues", "answer_cache"}  # of the workers nothing is known
    assert of(series, "tally_holds_active") == 0


@pytest.mark.django_db(transaction=True)
def test_locked_tables_leave_the_rest(scrape, alice):
    with connect() as owner:
        owner.execute("LOCK TABLE monitoring_total IN ACCESS EXCLUSIVE MODE")
        series = scrape()
    assert unread(series) == {"totals"}
    assert of(series, "tally_holds_active") == 0
    assert unread(scrape()) == set()


def test_each_part_by_itself_has_no_series_of_the_other(scrape, alice):
    site, machines = set(scrape("site")), set(scrape("machine"))
    assert site
    assert not site & machines
    assert not [name for name, *_labels in site if name.startswith("tally_http")]


def test_a_scrape_has_a_bounded_number_of_queries_and_counts_no_table_that_grows(scrape, alice, catalogue):
    answered_talk(alice, catalogue)
    scrape()
    with CaptureQueriesContext(connection) as few:
        scrape()
    for _ in range(5):
        answered_talk(alice, catalogue)
    with CaptureQueriesContext(connection) as many:
        scrape()
    assert max(len(few), len(many)) <= 60
    scanned = [
        query["sql"] for query in many if re.search(r"COUNT\(|SUM\(", query["sql"]) and "WHERE" not in query["sql"]
    ]
    assert scanned == []


def test_no_label_names_a_person_or_an_id(scrape, alice, catalogue):
    answered_talk(alice, catalogue)
    values = {value for _name, *labels in scrape() for _label, value in labels}
    assert not [value for value in values if "@" in value and "example" in value]
    assert not [value for value in values if re.search(r"[0-9a-f]{8}-[0-9a-f]{4}", value)]
