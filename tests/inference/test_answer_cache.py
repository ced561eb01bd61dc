"""The answer cache: identical deterministic requests are repeated at the cache price."""

import time
from uuid import UUID

import pytest
import redis
from django.conf import settings as django_settings
from django.db import connection

from accounts.closing import account_closing
from billing import ledger
from billing.ledger import caps
from inference import answer_cache
from inference.answer_cache import CacheUse
from inference.generations.requesting import AlreadyRequested, IdempotencyConflict
from inference.models import Generation
from inference.weights.revisions import revision_of
from tests.inference.asking import charge
from tests.inference.caching import (  # noqa: F401  fixtures among them
    answered,
    ask,
    cache_price,
    caching_worker,
    counting_engine,
    empty_queues,
    full_price,
    read,
)
from tests.support.cast import CREDIT, at_once, fund
from tests.support.databases.queue import run_tasks
from tests.support.databases.redis_admin import admin

pytestmark = pytest.mark.django_db(transaction=True)


def test_an_identical_request_is_answered_at_once_at_the_cache_price(alice, catalogue, worker, engine, faults):
    first = answered(worker, ask(alice, catalogue))
    second = ask(alice, catalogue)
    assert (second.state, second.text, second.finish_reason) == ("completed", first.text, "stop")
    assert (second.is_from_cache, second.follows, second.completion_tokens) == (True, first.pk, 7)
    assert not second.is_limited_by_balance
    assert charge(alice) == (full_price(first) + cache_price(first), 0)
    assert cache_price(first) * 10 == full_price(first)
    assert engine.requests == 1
    assert faults() == []


def test_the_same_seed_is_deterministic_at_any_temperature_and_another_is_not_the_same(
    alice, catalogue, worker, engine
):
    answered(worker, ask(alice, catalogue, temperature=0.8, seed=5))
    assert ask(alice, catalogue, temperature=0.8, seed=5).is_from_cache
    assert not ask(alice, catalogue, temperature=0.8, seed=6).is_from_cache


def test_at_temperature_0_the_seed_does_not_matter(alice, catalogue, worker, engine):
    answered(worker, ask(alice, catalogue, temperature=0))
    assert ask(alice, catalogue, temperature=0, seed=6).is_from_cache


def test_a_request_with_neither_is_generated_anew(alice, catalogue, worker, engine):
    for _ in range(2):
        generation = answered(worker, ask(alice, catalogue, temperature=0.8))
        assert (generation.cache_key, generation.follows) == ("", None)
    assert engine.requests == 2


@pytest.mark.parametrize(
    "other",
    [
        {"text": "Tell me another story."},
        {"max_tokens": 19},
        {"top_p": 0.85},
        {"top_k": 3},
        {"stop": ("lazy",)},
        {"temperature": 0.1, "seed": 5},
        {"cache": CacheUse.PUBLIC},
        {"cache": CacheUse.OFF},
    ],
    ids=str,
)
def test_another_request_is_not_answered_from_the_cache(alice, catalogue, worker, engine, other):
    answered(worker, ask(alice, catalogue))
    assert not answered(worker, ask(alice, catalogue, **other)).is_from_cache
    assert engine.requests == 2


def test_other_weights_are_another_revision(tmp_path, settings, alice, catalogue, worker, engine):
    demo = django_settings.MODEL_DIR / catalogue.key
    folder = tmp_path / catalogue.key
    folder.mkdir()
    for name in ("config.json", "tokenizer.json"):
        (folder / name).symlink_to(demo / name)
    (folder / "model.safetensors").write_bytes(b"\x00" * 1_000_000)
    settings.MODEL_DIR = tmp_path
    before = revision_of(key=catalogue.key, source=catalogue.source)
    answered(worker, ask(alice, catalogue))
    assert ask(alice, catalogue).is_from_cache
    (folder / "model.safetensors").write_bytes(b"\x01" * 1_000_000)
    assert revision_of(key=catalogue.key, source=catalogue.source) != before
    assert not ask(alice, catalogue).is_from_cache


def test_a_private_answer_is_not_given_to_another_user(alice, charlie, catalogue, worker, engine):
    answered(worker, ask(alice, catalogue))
    generation = answered(worker, ask(charlie, catalogue))
    assert not generation.is_from_cache
    assert charge(charlie) == (full_price(generation), 0)
    assert engine.requests == 2


def test_a_public_answer_is_given_to_everybody_who_asks_publicly(alice, charlie, catalogue, worker, engine, faults):
    first = answered(worker, ask(alice, catalogue, cache=CacheUse.PUBLIC))
    second = ask(charlie, catalogue, cache=CacheUse.PUBLIC)
    assert (second.is_from_cache, second.text, second.user) == (True, first.text, charlie)
    assert charge(charlie) == (cache_price(first), 0)
    assert charge(alice) == (full_price(first), 0)
    assert faults() == []


def test_a_request_that_comes_between_the_end_and_the_store_is_not_generated_again(
    alice, catalogue, worker, engine, monkeypatch
):
    monkeypatch.setattr(answer_cache, "store", lambda generation: None)
    answered(worker, ask(alice, catalogue))
    assert ask(alice, catalogue).is_from_cache
    monkeypatch.setattr(answer_cache, "JUST_ENDED_SECONDS", 0)
    assert not ask(alice, catalogue).is_from_cache


def test_an_answer_expires(alice, catalogue, worker, engine, settings):
    settings.ANSWER_CACHE_SECONDS = 1
    answered(worker, ask(alice, catalogue))
    assert ask(alice, catalogue).is_from_cache
    time.sleep(1.1)
    assert not ask(alice, catalogue).is_from_cache


def test_what_was_not_used_for_longest_makes_room(alice, catalogue, worker, engine, settings, monkeypatch):
    monkeypatch.setattr(answer_cache, "JUST_ENDED_SECONDS", 0)
    settings.ANSWER_CACHE_ENTRIES = 2
    for text in ("One.", "Two."):
        answered(worker, ask(alice, catalogue, text=text))
    assert ask(alice, catalogue, text="One.").is_from_cache
    answered(worker, ask(alice, catalogue, text="Three."))
    figures = answer_cache.read_figures()
    assert (figures.entries, figures.stored, figures.evicted) == (2, 3, 1)
    assert len(list(admin().scan_iter("answer:*"))) == 2
    found = [ask(alice, catalogue, text=text).is_from_cache for text in ("One.", "Two.", "Three.")]
    assert found == [True, False, True]


def test_hits_misses_and_who_joined_are_counted(alice, catalogue, worker, engine):
    leader, _follower = ask(alice, catalogue), ask(alice, catalogue)
    worker.serve(leader.model_id)
    ask(alice, catalogue)
    ask(alice, catalogue, temperature=0.8)
    figures = answer_cache.read_figures()
    assert (figures.hits, figures.misses, figures.joined, figures.stored) == (1, 1, 1, 1)


def test_without_redis_there_is_no_cache_and_a_normal_answer(alice, catalogue, worker, engine, monkeypatch, faults):
    answered(worker, ask(alice, catalogue))
    dead = redis.Redis(port=1, socket_connect_timeout=1, retry=None)
    monkeypatch.setattr(answer_cache, "connection", lambda: dead)
    generation = answered(worker, ask(alice, catalogue))
    assert (generation.is_from_cache, generation.cache_key) == (False, "")
    assert engine.requests == 2
    assert faults() == []


def test_redis_that_goes_away_while_an_answer_is_written_loses_only_the_entry(
    alice, catalogue, worker, engine, monkeypatch, faults
):
    leader, follower = ask(alice, catalogue), ask(alice, catalogue)
    dead = redis.Redis(port=1, socket_connect_timeout=1, retry=None)
    monkeypatch.setattr(answer_cache, "connection", lambda: dead)
    answered(worker, leader)
    run_tasks()
    assert read(follower).is_from_cache
    assert faults() == []


@pytest.mark.parametrize("named", ["nonsense", str(UUID(int=7))])
def test_what_redis_names_is_not_believed_without_its_row(alice, catalogue, worker, engine, monkeypatch, named):
    monkeypatch.setattr(answer_cache, "JUST_ENDED_SECONDS", 0)
    first = answered(worker, ask(alice, catalogue))
    admin().set(f"answer:{first.cache_key}", named)
    assert not ask(alice, catalogue).is_from_cache


def test_another_answer_under_the_key_in_redis_is_not_given(alice, catalogue, worker, engine, monkeypatch):
    monkeypatch.setattr(answer_cache, "JUST_ENDED_SECONDS", 0)
    first = answered(worker, ask(alice, catalogue))
    other = answered(worker, ask(alice, catalogue, text="Something else."))
    admin().set(f"answer:{first.cache_key}", str(other.pk))
    assert not ask(alice, catalogue).is_from_cache


def test_an_answer_that_was_erased_is_out_of_the_cache(alice, charlie, catalogue, worker, engine):
    answered(worker, ask(alice, catalogue, cache=CacheUse.PUBLIC))
    account_closing.send(sender=type(alice), user=alice)
    assert not ask(charlie, catalogue, cache=CacheUse.PUBLIC).is_from_cache


def test_what_the_wallet_cut_short_is_not_repeated(bob, catalogue, worker, engine, monkeypatch):
    engine.length = 1000
    fund(bob, 5_000)
    first = answered(worker, ask(bob, catalogue, max_tokens=500))
    assert (first.is_limited_by_balance, first.finish_reason) == (True, "length")
    fund(bob, CREDIT)
    assert not ask(bob, catalogue, max_tokens=500).is_from_cache


def test_what_the_wallet_limited_but_did_not_cut_short_is_repeated(bob, catalogue, worker, engine):
    fund(bob, 5_000)
    first = answered(worker, ask(bob, catalogue, max_tokens=500))
    assert (first.is_limited_by_balance, first.finish_reason) == (True, "stop")
    assert ask(bob, catalogue, max_tokens=500).is_from_cache


def test_a_hit_with_too_small_a_wallet_is_refused_and_charges_nothing(bob, charlie, catalogue, worker, engine, faults):
    first = answered(worker, ask(charlie, catalogue, cache=CacheUse.PUBLIC))
    fund(bob, cache_price(first) - 1)
    with pytest.raises(ledger.InsufficientCredits) as refused:
        ask(bob, catalogue, cache=CacheUse.PUBLIC)
    assert refused.value.needed_microcredits == cache_price(first)
    assert charge(bob) == (0, 0)
    fund(bob, 1)
    assert ask(bob, catalogue, cache=CacheUse.PUBLIC).is_from_cache
    assert (charge(bob), bob.wallet.balance_microcredits) == ((cache_price(first), 0), 0)
    assert faults() == []


def test_a_hit_keeps_within_the_monthly_cap(alice, catalogue, worker, engine):
    first = answered(worker, ask(alice, catalogue))
    caps.set_cap(user=alice, cap_microcredits=full_price(first) + cache_price(first) - 1)
    with pytest.raises(ledger.MonthlyCapReached):
        ask(alice, catalogue)
    caps.set_cap(user=alice, cap_microcredits=full_price(first) + cache_price(first))
    assert ask(alice, catalogue).is_from_cache


def test_a_double_click_and_a_retry_with_the_same_key_are_charged_once(alice, catalogue, worker, engine, faults):
    first = answered(worker, ask(alice, catalogue))
    results = at_once(4, lambda _n: ask(alice, catalogue, key="twice"))
    made = [result for result in results if isinstance(result, Generation)]
    repeats = [result.generation.pk for result in results if isinstance(result, AlreadyRequested)]
    assert (len(made), repeats) == (1, [made[0].pk] * 3)
    assert charge(alice) == (full_price(first) + cache_price(first), 0)
    with pytest.raises(IdempotencyConflict):
        ask(alice, catalogue, key="twice", inputs_hash="other")
    assert faults() == []


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE inference_generation SET follows = NULL WHERE follows IS NOT NULL",
        "UPDATE inference_generation SET follows = id WHERE follows IS NULL",
        "UPDATE inference_generation SET cache_key = 'x' WHERE follows IS NULL",
        "UPDATE inference_generation SET completion_tokens = 6 WHERE follows IS NULL",
        "UPDATE inference_generation SET follows = gen_random_uuid() WHERE follows IS NOT NULL",
    ],
)
def test_the_cache_price_without_the_answer_that_is_repeated_is_a_fault(
    alice, catalogue, worker, engine, faults, statement
):
    answered(worker, ask(alice, catalogue))
    ask(alice, catalogue)
    assert faults() == []
    with connection.cursor() as cursor:
        cursor.execute(statement)
    assert any("does not fit the answer" in fault for fault in faults()), faults()
