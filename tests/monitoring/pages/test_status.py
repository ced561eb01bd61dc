"""Everybody learns which models are up, slow or down, and nothing else."""

import html
import re
import time
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from billing.ledger.charges import latest_charged_holds
from billing.models import LedgerEntry
from inference.models import CatalogueModel, Generation
from inference.relay import streams
from inference.worker.contracts import LoadedModel
from tests.support.cast import answered_talk
from tests.support.databases import owner
from tests.support.databases.redis_admin import admin

HIDDEN = ("test", "4242", "cpu", "alice", "@example.com", "prepare_models", "secret")


@pytest.fixture
def only(catalogue):
    """The demo model is the only one on offer."""
    CatalogueModel.objects.exclude(pk=catalogue.pk).update(is_active=False)
    return catalogue


@pytest.fixture
def up(worker, only):
    """A worker has loaded the only model."""
    worker(only.key, models=[LoadedModel(only.key, "ready", 1, 0, 0, 0.0)])
    return only


def look(client):
    """The verdict, and the cells of each model, once what was seen before is forgotten; workers stay."""
    for key in admin().scan_iter("*public-page*"):
        admin().delete(key)
    page = client.get("/status/").content.decode()
    verdict = re.search('<p class="verdict.*?">(.*?)</p>', page, re.DOTALL)[1]
    rows = re.findall("<tr>(.*?)</tr>", page, re.DOTALL)[1:]
    cells = [[plain(cell) for cell in re.findall("<t[hd].*?>(.*?)</t[hd]>", row, re.DOTALL)] for row in rows]
    return plain(verdict), cells


def plain(text):
    return " ".join(html.unescape(re.sub("<[^>]+>", " ", text)).split())


def ask(user, model, state, *, waited, ago=0):
    """An answer that was asked for, waited so many seconds, and was begun `ago` seconds before now (or not at all)."""
    answer = answered_talk(user, model).messages.last().generation
    begun = timezone.now() - timedelta(seconds=ago)
    times = {"created_at": begun - timedelta(seconds=waited), "started_at": begun, "ended_at": begun}
    if state == "queued":
        times |= {"started_at": None, "ended_at": None}
    elif state == "running":
        times["ended_at"] = None
    Generation.objects.filter(pk=answer.pk).update(state=state, **times)
    return answer


def test_a_loaded_model_is_up(client, up):
    assert look(client) == ("All models that we offer are up.", [[up.name, "up", "Answers begin at once."]])


def test_a_model_that_is_not_loaded_is_up_and_says_that_it_takes_longer_once(client, only, worker):
    worker(only.key)
    verdict, [[_name, state, note]] = look(client)
    assert (verdict, state) == ("All models that we offer are up.", "up")
    assert "until it is loaded" in note


def test_without_a_worker_it_is_down_and_with_one_that_stops_too(client, only, worker):
    down = ("No model answers at the moment. What fails on our side costs nothing.",)
    assert (look(client)[0],) == down
    worker(only.key, is_stopping=True)
    verdict, [[name, state, note]] = look(client)
    assert ((verdict,), name, state, note) == (down, only.name, "down", "No answer comes. Nothing is charged for that.")


def test_a_model_that_is_not_offered_is_no_failure_and_its_reason_is_for_operators(client, up):
    other = CatalogueModel.objects.filter(is_active=False).first()
    CatalogueModel.objects.filter(pk=other.pk).update(is_active=True, unavailable_reason="Run prepare_models.")
    verdict, rows = look(client)
    assert verdict == "All models that we offer are up."
    assert [other.name, "not offered", "Choose another model."] in rows


def test_it_is_slow_while_somebody_waits_of_whom_nothing_is_written(client, up, alice, charlie):
    ask(alice, up, "queued", waited=9)
    assert look(client)[1][0][1] == "up"
    ask(charlie, up, "queued", waited=31)
    verdict, [[_name, state, note]] = look(client)
    assert (verdict, state) == ("Some models are slow or down.", "slow")
    assert note == "Answers begin after about 35 seconds."


def test_who_asks_for_a_thousand_answers_at_once_makes_it_slow_for_nobody_else(client, up, alice):
    ask(alice, up, "running", waited=1)
    ask(alice, up, "queued", waited=200)
    ask(alice, up, "completed", waited=100, ago=5)
    ask(alice, up, "completed", waited=2, ago=60)
    assert look(client)[1][0][1] == "up"


def test_it_is_slow_after_slow_answers_for_ten_minutes(client, up, alice, bob, charlie):
    answers = [ask(user, up, "completed", waited=waited, ago=60) for user, waited in ((alice, 41), (charlie, 12))]
    assert look(client)[1][0][1:] == ["slow", "Answers begin after about 30 seconds."]
    Generation.objects.filter(pk__in=[answer.pk for answer in answers]).update(
        ended_at=timezone.now() - timedelta(minutes=11)
    )
    assert look(client)[1][0][1] == "up"


def test_without_redis_no_request_is_taken_and_the_page_says_so(client, up, settings):
    settings.RELAY_REDIS_URL = "redis://127.0.0.1:1/0"
    streams.connection.cache_clear()
    try:
        verdict, [[_name, state, _note]] = look(client)
    finally:
        streams.connection.cache_clear()
    assert (verdict, state) == ("No model answers at the moment. What fails on our side costs nothing.", "down")


@pytest.mark.django_db(transaction=True)
def test_a_database_that_hangs_is_not_waited_for(client, up):
    with owner.connect() as locking, locking.transaction():
        locking.execute("LOCK TABLE inference_cataloguemodel IN ACCESS EXCLUSIVE MODE")
        begun = time.monotonic()
        verdict, rows = look(client)
        assert time.monotonic() - begun < 10
    assert (verdict.startswith("We cannot see how the models do"), rows) == (True, [])


def test_strangers_make_it_look_once_and_see_nothing_of_workers_and_customers(
    client, up, alice, django_assert_num_queries
):
    ask(alice, up, "running", waited=1)
    with django_assert_num_queries(7):  # a savepoint, its time-out, four reads, its end
        page = client.get("/status/?lang=en")
    with django_assert_num_queries(0):
        assert client.get("/status/?lang=en&again").content == page.content
    assert [word for word in HIDDEN if word in page.content.decode()] == []
    assert set(page["Cache-Control"].replace(" ", "").split(",")) == {"public", "max-age=10"}
    assert "Cookie" not in page.get("Vary", "")
    assert not page.cookies
    assert client.get("/status/?lang=en", headers={"If-None-Match": page["ETag"]}).status_code == 304


def test_the_recent_answers_are_found_without_walking_through_all(alice, catalogue):
    for _number in range(3):
        answered_talk(alice, catalogue)
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_sort = off; SET LOCAL enable_bitmapscan = off")
        entries = LedgerEntry.objects.order_by("-pk").values_list("kind", "hold_id")[:300].explain()
    assert "Backward using billing_ledgerentry_pkey" in entries
    plan = Generation.objects.filter(hold__in=latest_charged_holds(300), started_at__isnull=False).explain()
    assert "Index Scan using inference_generation_hold_id_key" in plan
    assert len(latest_charged_holds(2)) == 2
