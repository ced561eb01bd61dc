"""Samples of the totals, so that operators see what happened in the last minutes, days and months.

Totals only grow. So to keep fewer samples of the past, the others are deleted, and nothing is averaged. The difference
of two samples is exact, however far apart they are, and percentiles come from the histograms in it.
"""

import itertools
import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone

from core import sql
from monitoring.models import Sample
from monitoring.totals.adding import limited_transaction, read_totals
from monitoring.totals.metrics import METRICS, Metric, Sum, Sums

# For how long samples are kept, by the seconds between them. A year of them stays under 500 MB.
KEPT = {10: timedelta(days=1), 300: timedelta(days=60), 3600: timedelta(days=730)}


@dataclass(frozen=True, slots=True)
class Period:
    """What happened in a number of seconds."""

    seconds: float
    sums: Sums

    def amount(self, metric: Metric, **labels: str) -> int:
        """How many values the series with these labels took, or how much they were increased."""
        return sum(series.amount for series in self._of(metric, labels))

    def total(self, metric: Metric, **labels: str) -> float:
        """The sum of the values."""
        return sum(series.total for series in self._of(metric, labels)) / metric.parts_of_one

    def percentile(self, metric: Metric, share: float, **labels: str) -> float | None:
        """The value that this share of all values does not exceed, None if there are none.

        Within a bucket values count as evenly spread. Of the last bucket only the lower limit is known.
        """
        buckets = [sum(counts) for counts in zip(*(series.buckets for series in self._of(metric, labels)), strict=True)]
        left = share * sum(buckets)
        if not sum(buckets):
            return None
        for index, count in enumerate(buckets[:-1]):
            lower = metric.bounds[index - 1] if index else 0.0
            if count and left <= count:
                return float(lower + (metric.bounds[index] - lower) * left / count)
            left -= count
        return metric.bounds[-1]

    def _of(self, metric: Metric, labels: dict[str, str]) -> list[Sum]:
        places = [(metric.labels.index(name), value) for name, value in labels.items()]
        return [
            series
            for (name, values), series in self.sums.series.items()
            if name == metric.name and all(values[place] == value for place, value in places)
        ]


@dataclass(frozen=True, slots=True)
class Measured:
    """What happened between two samples, and when these were taken; None if there are none."""

    begin: datetime | None
    end: datetime | None
    period: Period


# The first sample at or after each moment; after the last of all samples, that one.
NEAREST = """
SELECT wanted.n, found.taken_at, found.totals
FROM unnest(%s::timestamptz[]) WITH ORDINALITY AS wanted (at, n) LEFT JOIN LATERAL (
    (SELECT 0 AS turn, taken_at, totals FROM monitoring_sample WHERE taken_at >= wanted.at ORDER BY taken_at LIMIT 1)
    UNION ALL
    (SELECT 1, taken_at, totals FROM monitoring_sample ORDER BY taken_at DESC LIMIT 1)
    ORDER BY turn LIMIT 1
) found ON TRUE ORDER BY wanted.n"""


def take_sample() -> None:
    """Keep the totals of now, unless the past is still being added up. Raises DatabaseError."""
    sums = read_totals()
    if sums is None:
        return
    totals = [[name, labels, one.amount, one.total, one.buckets] for (name, labels), one in sums.series.items()]
    now = timezone.now()
    with limited_transaction():
        Sample.objects.create(taken_at=now, resolution_seconds=_resolution_at(now), totals=totals)


def thin_samples() -> int:
    """Delete the samples that are kept no longer. Returns how many there were."""
    now = timezone.now()
    return sum(
        Sample.objects.filter(resolution_seconds=seconds, taken_at__lt=now - kept).delete()[0]
        for seconds, kept in KEPT.items()
    )


def read_period(length: timedelta, sums: Sums) -> Period | None:
    """What happened since about so long ago, until these totals of now. None if there is no sample of then."""
    now = timezone.now()
    begin = now - length
    samples = Sample.objects.filter(taken_at__range=(begin - length, begin + length / 2)).order_by("-taken_at")
    before = samples.filter(taken_at__lte=begin).first() or samples.last()
    if before is None:
        return None
    return Period((now - before.taken_at).total_seconds(), _difference(before.totals, sums))


def read_between(moments: list[datetime]) -> list[Measured]:
    """What happened between each two of these moments that follow each other, as far as there are samples. One query.

    A span begins and ends with the first sample at or after its moment; the last one may end with the latest sample of
    all. Where there is no sample in between, it has no seconds and no figures.
    """
    rows = sql.fetch_all(NEAREST, [moments])
    samples = [(taken_at, json.loads(totals) if isinstance(totals, str) else totals) for _n, taken_at, totals in rows]
    spans = []
    for (begin, before), (end, after) in itertools.pairwise(samples):
        if begin is None or end is None:
            spans.append(Measured(None, None, Period(0.0, Sums())))
        else:
            seconds = (end - begin).total_seconds()
            spans.append(Measured(begin, end, Period(seconds, _difference(before, _sums_of(after)))))
    return spans


def _sums_of(totals: list[Any]) -> Sums:
    sums = Sums()
    for name, labels, amount, total, buckets in totals:
        if name in METRICS:
            sums.add((name, tuple(labels)), Sum(amount, total, buckets))
    return sums


def _resolution_at(now: datetime) -> int:
    """The greatest resolution of which this is the first sample in its time."""
    last = Sample.objects.order_by("-taken_at").values_list("taken_at", flat=True).first()
    for seconds in sorted(KEPT, reverse=True):
        if last is None or now.timestamp() // seconds > last.timestamp() // seconds:
            return seconds
    return min(KEPT)


def _difference(before: list[Any], after: Sums) -> Sums:
    earlier = {(name, tuple(labels)): Sum(amount, total, buckets) for name, labels, amount, total, buckets in before}
    sums = Sums()
    for key, now in after.series.items():
        sums.add(key, now)
        then = earlier.get(key)
        if then is not None and key[0] in METRICS:
            sums.add(key, Sum(-then.amount, -then.total, [-count for count in then.buckets]))
    return sums
