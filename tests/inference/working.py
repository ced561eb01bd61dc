"""Workers that the tests start."""

import pytest

from inference.worker.worker import Worker

REAL_ENGINE = "inference.engine.batching.BatchingEngine"


@pytest.fixture
def work(settings):
    """Call it for a worker with other settings; its models are closed afterwards."""
    made = []

    def make(**values):
        for name, value in values.items():
            setattr(settings, name, value)
        made.append(Worker())
        return made[-1]

    yield make
    for worker in made:
        worker.models.close()
