"""The metrics that PostgreSQL tells: totals, answers that wait or run, holds, proofs, and how the server does."""

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.utils import floatToGoString

from billing.reporting.standing import read_holds as read_standing_holds
from billing.reporting.standing import read_last_proofs
from monitoring import machine
from monitoring.totals import adding
from monitoring.totals.metrics import METRICS, MODEL, Sum

Gauge = GaugeMetricFamily
Family = CounterMetricFamily | HistogramMetricFamily


def read_totals() -> Iterator[Metric]:
    """All totals, and the credits that customers own. Only how far they are, while they are being added up."""
    sums = adding.read_totals()
    yield Gauge("tally_totals_behind", "1 while the past is still being added up.", value=float(sums is None))
    if sums is None:
        return
    families = {name: _family(name) for name in METRICS}
    for (name, labels), series in sums.series.items():
        _add_series(families[name], labels, series)
    yield from families.values()
    owned = adding.owned_microcredits(sums)
    yield Gauge(
        "tally_credits_owned_microcredits", "Credits of all customers, sold or given and not spent.", value=owned
    )


def _family(name: str) -> Family:
    metric = METRICS[name]
    make = HistogramMetricFamily if metric.bounds else CounterMetricFamily
    return make(name, metric.help, labels=metric.labels)


def _add_series(family: Family, labels: tuple[str, ...], series: Sum) -> None:
    if isinstance(family, CounterMetricFamily):
        family.add_metric(labels, series.amount)
        return
    limits = [*map(floatToGoString, METRICS[family.name].bounds), "+Inf"]
    counts = [sum(series.buckets[: index + 1]) for index in range(len(series.buckets))]
    family.add_metric(
        labels,
        buckets=list(zip(limits, counts, strict=True)),
        sum_value=series.total / METRICS[family.name].parts_of_one,
    )


def read_answers_now() -> Iterator[Metric]:
    """The answers of each model that wait or run."""
    now = Gauge("tally_answers_now", "Answers that have not ended.", labels=[MODEL, "state"])
    oldest = Gauge(
        "tally_queue_oldest_seconds", "Seconds that the first answer in the queue has waited.", labels=[MODEL]
    )
    offered = Gauge("tally_model_available", "1 if customers can ask this model.", labels=[MODEL])
    for model in machine.read_models():
        for state in ("queued", "running"):
            now.add_metric([model["key"], state], model[state])
        oldest.add_metric([model["key"]], model["oldest_queued_seconds"] or 0.0)
        offered.add_metric([model["key"]], float(model["is_available"]))
    yield from (now, oldest, offered)


def read_holds() -> Iterator[Metric]:
    """Credits that are set aside for answers."""
    holds = read_standing_holds()
    yield Gauge("tally_holds_active", "Holds of answers that have not ended.", value=holds.active)
    yield Gauge("tally_holds_microcredits", "Credits that they hold, in microcredits.", value=holds.held_microcredits)
    yield Gauge("tally_holds_stuck", "Holds that have outlived their time.", value=holds.stuck)


def read_proofs() -> Iterator[Metric]:
    """The last proof of each kind."""
    labels = ["kind"]
    started = Gauge("tally_ledger_proof_timestamp_seconds", "When the last proof began.", labels=labels)
    seconds = Gauge("tally_ledger_proof_duration_seconds", "How long it took.", labels=labels)
    entries = Gauge("tally_ledger_proof_entries", "The entries that it checked.", labels=labels)
    faults = Gauge("tally_ledger_faults", "The faults that it found.", labels=labels)
    for proof in read_last_proofs():
        kind = ["everything" if proof.is_of_everything else "new"]
        started.add_metric(kind, proof.started_at.timestamp())
        seconds.add_metric(kind, proof.seconds)
        entries.add_metric(kind, proof.entries)
        faults.add_metric(kind, proof.faults)
    yield from (started, seconds, entries, faults)


def read_postgresql() -> Iterator[Metric]:
    """Connections, size, and the oldest transaction."""
    connections = Gauge("tally_database_connections", "Connections to the database.", labels=["state"])
    server = machine.read_server()
    for state, count in server.connections_by_state.items():
        connections.add_metric([state], count)
    yield connections
    yield Gauge("tally_database_connections_limit", "Connections that Tally may have.", value=server.connections_limit)
    yield Gauge("tally_database_bytes", "Size of the database.", value=server.size_bytes)
    yield Gauge(
        "tally_database_oldest_transaction_seconds", "Age of the oldest transaction.", value=server.oldest_seconds
    )
