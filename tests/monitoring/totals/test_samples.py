"""Samples tell what happened between two moments; fewer are kept the older they are, and none is averaged."""

import itertools
import random
from datetime import UTC, datetime, timedelta
from unittest import mock

import pytest

from core import sql
from inference.generations.endings import settle_generation
from inference.models import Generation
from monitoring.models import Sample
from monitoring.totals import samples
from monitoring.totals.adding import read_totals
from monitoring.totals.metrics import ANSWERS, METRICS, MODEL, OUTPUT_TOKEN, TOKEN_USAGE, Sums
from monitoring.totals.samples import KEPT, Period, read_period, take_sample, thin_samples
from tests.inference.asking import ask
from tests.support.cast import answered_talk, begin

NOON = datetime(2026, 11, 30, 12, 0, 0, tzinfo=UTC)
MOST_BYTES = 500_000_000


def at(moment):
    return mock.patch("django.utils.timezone.now", return_value=moment)


@pytest.fixture
def every_ten_seconds(db, monkeypatch):
    """Call it for samples of so many seconds, of nothing."""
    monkeypatch.setattr(samples, "read_totals", Sums)

    def take(seconds, since=NOON):
        for passed in range(0, seconds, 10):
            with at(since + timedelta(seconds=passed)):
                take_sample()

    return take


def test_what_happened_since_a_sample_is_its_difference_to_now(alice, catalogue):
    answered_talk(alice, catalogue)
    with at(NOON):
        take_sample()
    answered_talk(alice, catalogue)
    answered_talk(alice, catalogue)
    with at(NOON + timedelta(minutes=1)):
        period = read_period(timedelta(minutes=1), read_totals())
    assert period.seconds == 60
    assert period.amount(ANSWERS, outcome="completed") == 2
    assert period.amount(ANSWERS, outcome="failed") == 0
    assert period.total(TOKEN_USAGE, gen_ai_token_type="output", **{MODEL: catalogue.key}) == 6


def test_without_a_sample_of_then_nothing_is_known(alice):
    with at(NOON):
        take_sample()
    with at(NOON + timedelta(hours=3)):
        assert read_period(timedelta(minutes=1), read_totals()) is None


def test_a_percentile_is_that_of_all_values_together(alice, catalogue):
    with at(NOON):
        take_sample()
    for seconds in (0.02, 0.02, 0.02, 0.28):
        generation = ask(alice, catalogue, text=str(Generation.objects.count()))
        begin(generation)
        settle_generation(
            generation_id=generation.pk,
            text="Hi",
            completion_tokens=2,
            finish_reason="stop",
            token_times=(0.0, seconds),
        )
    with at(NOON + timedelta(minutes=1)):
        period = read_period(timedelta(minutes=1), read_totals())
    assert 0.01 < period.percentile(OUTPUT_TOKEN, 0.5) <= 0.025
    assert 0.2 < period.percentile(OUTPUT_TOKEN, 0.95) <= 0.3
    assert period.percentile(OUTPUT_TOKEN, 0.5, **{MODEL: "another"}) is None


def test_beyond_the_last_limit_a_percentile_is_that_limit():
    sums = Sums()
    sums.observe(OUTPUT_TOKEN, ("m",), 100.0)
    assert Period(1, sums).percentile(OUTPUT_TOKEN, 0.5) == OUTPUT_TOKEN.bounds[-1]


def test_the_first_of_an_hour_and_of_five_minutes_are_kept_for_longer(every_ten_seconds):
    every_ten_seconds(3610)
    kept = {seconds: Sample.objects.filter(resolution_seconds=seconds).count() for seconds in KEPT}
    assert kept == {3600: 2, 300: 11, 10: 348}


@pytest.mark.parametrize(
    ("later", "left"),
    [
        (timedelta(hours=23), {10, 300, 3600}),
        (timedelta(days=2), {300, 3600}),
        (timedelta(days=61), {3600}),
        (timedelta(days=731), set()),
    ],
)
def test_what_is_old_goes(every_ten_seconds, later, left):
    every_ten_seconds(600)
    with at(NOON + later):
        thin_samples()
    assert set(Sample.objects.values_list("resolution_seconds", flat=True)) == left


def test_a_year_of_them_is_not_much(db, monkeypatch):
    """Of ten models that are all in use, and answered in every way."""
    draw = random.Random(1)
    sums = Sums()
    for metric in METRICS.values():
        for model, second in itertools.product(range(10), ("completed", "failed", "stopped", "cached")):
            labels = (f"a-model-with-a-name-{model}", second)[: len(metric.labels)]
            sums.count(metric, labels, draw.randrange(10**7))
            for bucket in range(len(metric.bounds)):
                sums.observe_many(metric, labels, bucket, draw.randrange(10**6), draw.randrange(10**12))
    monkeypatch.setattr(samples, "read_totals", lambda: sums)
    take_sample()
    [[size]] = sql.fetch_all("SELECT pg_column_size(totals) FROM monitoring_sample", [])
    rows = sum(min(kept, timedelta(days=365)).total_seconds() / seconds for seconds, kept in KEPT.items())
    assert size > 1000
    assert rows * (size + 100) < MOST_BYTES
