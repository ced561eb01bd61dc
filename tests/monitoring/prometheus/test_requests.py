"""Requests are counted by the name of their route, and streams while they are sent."""

import httpx
import pytest

from core.serving import handlers
from inference.relay import reader
from monitoring.prometheus import processes, requests
from tests.support.stack import wait_until
from tests.support.watching import watch

NAME = "tally_http_request_duration_seconds_count"


@pytest.fixture
def measured():
    """This process measures its requests until the end of the test. Call it for the number of each series."""
    before = list(handlers.observers), list(reader.observers)
    requests.measure_requests()

    def read():
        samples = [sample for metric in requests.registry().collect() for sample in metric.samples]
        counts = {tuple(sample.labels.values()): sample.value for sample in samples if sample.name == NAME}
        [streams] = [sample.value for sample in samples if sample.name == "tally_relay_streams"]
        return counts, streams

    yield read
    handlers.observers[:], reader.observers[:] = before
    requests._own = None


def test_every_kind_of_path_has_a_bounded_name(server, measured, alice):
    with httpx.Client(base_url=server.url) as client:
        for path in ("/accounts/login/", "/healthz", "/v1/models", "/api/v1/me", "/static/missing.css"):
            client.get(path)
        for path in ("/nobody/knows/this", "/%2e%2e/x", "/v1/chat/nothing", f"/talk/{alice.pk}/x"):
            client.get(path)
        client.request("PROPFIND", "/accounts/login/")
    counts, _streams = measured()
    assert counts["account_login", "GET", "200"] == 1
    assert counts["healthz", "GET", "200"] == 1
    assert counts["openai:models", "GET", "401"] == 1
    assert counts["static", "GET", "404"] == 1
    assert counts["unknown", "GET", "404"] >= 2
    assert {method for _route, method, _status in counts} == {"GET", "other"}
    assert not [route for route, _method, _status in counts if "/" in route and "<" not in route]


def test_when_there_are_too_many_series_the_rest_counts_as_one(server, measured, monkeypatch):
    monkeypatch.setattr(requests, "MOST_SERIES", 1)
    with httpx.Client(base_url=server.url) as client:
        for path in ("/healthz", "/healthz", "/readyz", "/nobody/knows/this"):
            client.get(path)
    counts, _streams = measured()
    rest = {status: count for (route, _method, status), count in counts.items() if route == "other"}
    assert counts["healthz", "GET", "200"] == 2
    assert rest.keys() <= {"2xx", "4xx", "5xx"}
    assert (rest["4xx"], sum(rest.values())) == (1, 2)


def test_a_stream_is_counted_while_it_is_sent(measured, http, watched, streams):
    assert measured()[1] == 0
    answer = watch(http, watched)
    streams.callback(answer.close)
    wait_until(lambda: measured()[1] == 1, 10, "the stream to begin")
    answer.close()
    wait_until(lambda: measured()[1] == 0, 10, "the stream to end")


def test_without_space_for_the_files_nothing_is_measured_and_nothing_breaks(tmp_path, monkeypatch, caplog):
    (tmp_path / "file").touch()
    monkeypatch.setenv(processes.VARIABLE, str(tmp_path / "file"))  # no folder
    observers = list(handlers.observers)
    with caplog.at_level("WARNING"):
        requests.measure_requests()
    assert handlers.observers == observers
    assert "requests are not measured" in caplog.text


def test_files_that_cannot_be_read_leave_the_rest(scrape, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv(processes.VARIABLE, str(tmp_path / "missing"))
    with caplog.at_level("WARNING"):
        assert ("tally_holds_active",) in scrape()
        assert scrape("machine") == {}
    assert "requests cannot be read" in caplog.text
