"""The metrics that are kept as totals: their names, labels and buckets.

Those of generative AI have the names and buckets of OpenTelemetry's semantic conventions (metrics of GenAI clients and
servers), so that dashboards made for other servers need no more than a change of labels. A change of buckets needs a
migration that deletes the totals of that histogram.
"""

from bisect import bisect_left
from dataclasses import dataclass

MODEL = "gen_ai_request_model"
MICROSECONDS = 1_000_000  # of a second


@dataclass(frozen=True, slots=True)
class Metric:
    """A counter, or a histogram if it has `bounds`: the upper limits of its buckets, each included.

    The sum of a histogram is kept as a whole number, in parts of a second or in tokens. The sum of fractions would
    depend on the order in which they are added, and could fall by the smallest of amounts.
    """

    name: str
    help: str
    labels: tuple[str, ...]
    bounds: tuple[float, ...] = ()
    parts_of_one: int = MICROSECONDS

    def bucket_of(self, value: float) -> int:
        """The index of the value's bucket. The last bucket has no upper limit."""
        return bisect_left(self.bounds, value)


ANSWERS = Metric("tally_answers", "Answers that ended, by how.", (MODEL, "outcome"))
ENTRIES = Metric("tally_ledger_entries", "Entries of the ledger.", ("kind",))
CREDITS = Metric(
    "tally_ledger_microcredits", "Credits that came into wallets or left them, in microcredits.", ("kind", "direction")
)
REQUEST_DURATION = Metric(
    "gen_ai_server_request_duration_seconds",
    "Seconds from a request for an answer to its end, waiting included.",
    (MODEL, "error_type"),
    (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92),
)
FIRST_TOKEN = Metric(
    "gen_ai_server_time_to_first_token_seconds",
    "Seconds from a request for an answer to its first token, waiting included.",
    (MODEL,),
    (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0),
)
OUTPUT_TOKEN = Metric(
    "gen_ai_server_time_per_output_token_seconds",
    "Seconds for each token of an answer after its first.",
    (MODEL,),
    (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5),
)
TOKEN_USAGE = Metric(
    "gen_ai_client_token_usage",
    "Tokens that were charged for, of each answer.",
    (MODEL, "gen_ai_token_type"),
    tuple(float(4**exponent) for exponent in range(14)),
    parts_of_one=1,
)
QUEUE_WAIT = Metric(
    "tally_queue_wait_seconds",
    "Seconds that an answer waited before a worker began it.",
    (MODEL,),
    (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0),
)
METRICS = {
    metric.name: metric
    for metric in (
        ANSWERS,
        ENTRIES,
        CREDITS,
        REQUEST_DURATION,
        FIRST_TOKEN,
        OUTPUT_TOKEN,
        TOKEN_USAGE,
        QUEUE_WAIT,
    )
}


@dataclass(slots=True)
class Sum:
    """The value of one series: see `monitoring.models.Total`."""

    amount: int
    total: int  # in `parts_of_one`
    buckets: list[int]


Key = tuple[str, tuple[str, ...]]  # the name of a metric, and the values of its labels


class Sums:
    """Series by their key, to which values are added."""

    def __init__(self) -> None:
        self.series: dict[Key, Sum] = {}

    def count(self, metric: Metric, labels: tuple[str, ...], times: int = 1) -> None:
        """Add to a counter."""
        self._of(metric, labels).amount += times

    def observe(self, metric: Metric, labels: tuple[str, ...], value: float) -> None:
        """Add one value to a histogram. Clocks differ a little: a time below zero counts as zero."""
        value = max(0.0, value)
        self.observe_many(metric, labels, metric.bucket_of(value), 1, round(value * metric.parts_of_one))

    def observe_many(self, metric: Metric, labels: tuple[str, ...], bucket: int, times: int, total: int) -> None:
        """Add `times` values, whose sum is `total` parts, to one bucket of a histogram."""
        found = self._of(metric, labels)
        found.amount += times
        found.total += total
        found.buckets[bucket] += times

    def add(self, key: Key, other: Sum) -> None:
        """Add a whole series."""
        found = self._of(METRICS[key[0]], key[1])
        found.amount += other.amount
        found.total += other.total
        found.buckets = [mine + more for mine, more in zip(found.buckets, other.buckets, strict=True)]

    def _of(self, metric: Metric, labels: tuple[str, ...]) -> Sum:
        key = (metric.name, labels)
        if key not in self.series:
            self.series[key] = Sum(0, 0, [0] * (len(metric.bounds) + 1) if metric.bounds else [])
        return self.series[key]
