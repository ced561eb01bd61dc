"""What each web process measures itself: how long its responses took to begin, and the streams that it sends."""

import logging

from django.conf import settings
from django.http import HttpRequest, HttpResponseBase
from prometheus_client import CollectorRegistry, Gauge, Histogram
from prometheus_client.multiprocess import MultiProcessCollector

from core.serving import handlers
from inference.relay import reader
from monitoring.prometheus import processes

logger = logging.getLogger(__name__)

# Buckets of OpenTelemetry's http.server.request.duration. An answer that is not streamed takes longer than a page.
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 30.0, 60.0, 300.0)
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
OTHER = "other"
# Parts of a second in which durations are added up. Their sum is exact in whatever order processes are added, and never
# falls by a rounding.
PARTS = 2**20
MOST_SERIES = 250  # so many fit into the file of a process; all others count as one

_Series = tuple[str, str, str]


class Requests:
    """The metrics of this process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._duration = Histogram(
            "tally_http_request_duration_seconds",
            "Seconds until a response began.",
            ("route", "method", "status"),
            buckets=SECONDS,
            registry=self.registry,
        )
        self.streams = Gauge(
            "tally_relay_streams",
            "Streams of answers that web processes send now.",
            multiprocess_mode="livesum",
            registry=self.registry,
        )
        self._known: dict[_Series, Histogram] = {}

    def observe(self, request: HttpRequest, response: HttpResponseBase, seconds: float) -> None:
        """Count a response."""
        series = (route_of(request), _method_of(request), str(response.status_code))
        known = self._known.get(series)
        if known is None:
            known = self._make_known(series)
        known.observe(round(seconds * PARTS) / PARTS)

    def _make_known(self, series: _Series) -> Histogram:
        if len(self._known) >= MOST_SERIES:
            series = (OTHER, OTHER, f"{series[2][0]}xx")  # so that an alert about failures sees them
        found: Histogram = self._duration.labels(*series)
        self._known[series] = found
        return found


def route_of(request: HttpRequest) -> str:
    """The name of a request's route, never its path, which may contain an id or whatever a stranger writes there."""
    if request.resolver_match is not None:
        return request.resolver_match.view_name or request.resolver_match.route
    is_file = request.path_info.startswith(f"/{settings.STATIC_URL.strip('/')}/")
    return "static" if is_file else "unknown"


def _method_of(request: HttpRequest) -> str:
    return request.method if request.method in METHODS else OTHER


_own: Requests | None = None


def measure_requests() -> None:
    """Measure this process's requests from now on. If there is no space for the files, say so and measure nothing."""
    global _own
    if _own is not None:
        return
    try:
        processes.take_space()
        _own = Requests()
    except OSError as error:
        logger.error("requests are not measured: %s", error)
        return
    handlers.observers.append(_own.observe)
    reader.observers.append(_own.streams.inc)


def registry() -> CollectorRegistry:
    """The metrics of all web processes of this machine, or of this one if each keeps them to itself."""
    if processes.directory() is None:
        return _own.registry if _own is not None else CollectorRegistry()
    merged = CollectorRegistry()
    MultiProcessCollector(merged)  # type: ignore[no-untyped-call]
    return merged
