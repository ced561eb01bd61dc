"""What a scrape of `/metrics` brings, as Prometheus would read it."""

import pytest
from prometheus_client.parser import text_string_to_metric_families

TOKEN = "a token that is long enough for Prometheus, and no other has it"


def parse(text):
    """The value of each series, by its name and labels."""
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@pytest.fixture
def scrape(client, settings, db):
    """Call it for what a scrape with the token brings."""
    settings.METRICS_TOKEN = TOKEN

    def read(part=""):
        answer = client.get("/metrics", {"part": part} if part else {}, headers={"Authorization": f"Bearer {TOKEN}"})
        assert answer.status_code == 200, answer.content
        return parse(answer.content.decode())

    return read
