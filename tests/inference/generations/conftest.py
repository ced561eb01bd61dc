"""What the tests of answers share."""

import pytest

from inference.engine.fake import FakeEngine
from inference.worker.worker import Worker
from tests.inference.engines import give_engine


@pytest.fixture(scope="module")
def worker():
    return Worker()


@pytest.fixture
def engine(worker):
    """The fake engine in the worker; set its attributes to make it slow or fail."""
    return give_engine(worker, FakeEngine())
