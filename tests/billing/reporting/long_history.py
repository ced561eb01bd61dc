"""A long history, and reading it in little memory."""

import tracemalloc

import psutil
import pytest

from billing.reporting import exports
from tests.billing.reporting.entries import insert_entries

ENTRIES = 100_000


@pytest.fixture
def long_history(bob):
    """100,000 entries of bob."""
    insert_entries(bob, ENTRIES)


TRACED = range(50, 60)  # of the hundred batches; tracing makes one five times as slow


async def read_in_little_memory(parts):
    """Read a download of `long_history` to its end and return its bytes; memory must not grow with it.

    All of it is watched from outside. Of ten batches every byte is traced: at the most 5 MB at a time, and what is
    kept of them may be ten hundredths of that.
    """
    for _head_and_first_batch in range(2):  # what is made once is made
        await anext(parts)
    sizes, process = [], psutil.Process()
    before = most = process.memory_info().rss
    try:
        async for part in parts:
            sizes.append((len(part), part.count(b"number ")))
            most = max(most, process.memory_info().rss)
            if len(sizes) == TRACED.start:
                tracemalloc.start()
            if len(sizes) == TRACED.stop:
                kept_bytes, peak_bytes = tracemalloc.get_traced_memory()
                tracemalloc.stop()
    finally:
        tracemalloc.stop()
    sent_bytes, entries = map(sum, zip(*sizes, strict=True))
    assert entries == ENTRIES - exports.BATCH_ENTRIES
    assert peak_bytes < 5_000_000
    assert kept_bytes - 2 * sizes[TRACED.stop - 1][0] < 5_000_000 // 10  # the last piece, as text and as bytes
    assert most - before < 20_000_000
    return sent_bytes
