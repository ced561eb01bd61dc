"""What long lists, tables and code of some cost the others whose answers the same web process streams.

    python -m benchmarks.blocks [--streams 32] [--seconds 15] [--json FILE]

Streams come at the pace of the relay, on one event loop, through the code of the pages (`chat.pages.streaming`): all of
plain words, then all but one of long blocks. The one that is left is of plain words both times, and is what is
measured: how long after they came its pieces were ready. Taken in turn; the ratio of the medians, and of the time
until its first.
"""

import argparse
import asyncio
import json
import os
import statistics
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import django
from django.conf import settings

PIECE_CHARACTERS = 20  # what an entry of the relay has, of a model of five tokens an entry
TEXTS = {
    "words": "plain words go on and on " * 800,
    "list": "".join(f"- item {n} with *some* words and `code`\n" for n in range(500)),
    "table": "| a | b |\n|---|---|\n" + "".join(f"| row {n} | value **{n}** |\n" for n in range(600)),
    "code": "```python\n" + "".join(f"def f{n}(x):\n    return 'text' * {n}  # comment\n\n" for n in range(350)),
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--streams", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings.local")
    django.setup(set_prefix=False)
    runs: dict[str, list[dict[str, float]]] = {"words": [], "blocks": []}
    for _round in range(2):
        for name, found in runs.items():
            found.append(asyncio.run(_measure(name, arguments.streams, arguments.seconds)))
    results: dict[str, Any] = {
        name: {key: statistics.median(run[key] for run in found) for key in found[0]} for name, found in runs.items()
    }
    for key in ("first_ms", "late_ms_p50", "between_ms_p50"):
        results[f"{key}_ratio"] = results["blocks"][key] / max(results["words"][key], 0.01)
    print(json.dumps(results, indent=2))
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n")


async def _measure(name: str, streams: int, seconds: float) -> dict[str, float]:
    """What the one stream of words meets beside `streams` - 1 of words, or of long blocks."""
    pause = max(settings.RELAY_COALESCE_SECONDS, streams / settings.RELAY_ENTRIES_PER_SECOND)
    kinds = ["words"] if name == "words" else ["list", "table", "code"]
    end = time.perf_counter() + seconds
    others = [
        asyncio.create_task(_stream(TEXTS[kinds[number % len(kinds)]], pause, end, number * pause / streams))
        for number in range(streams - 1)
    ]
    await asyncio.sleep(seconds / 3)  # the others have long blocks by now
    late, between = await _stream(TEXTS["words"], pause, end, 0.0)
    await asyncio.gather(*others)
    return {
        "first_ms": (late[0] + pause) * 1000,
        "late_ms_p50": statistics.median(late) * 1000,
        "between_ms_p50": statistics.median(between) * 1000,
    }


async def _stream(text: str, pause: float, end: float, wait: float) -> tuple[list[float], list[float]]:
    """Push a text through the page's events; seconds by which each piece was late, and those between two."""
    from chat.pages.streaming import _Events
    from inference.relay.streams import Chunk

    await asyncio.sleep(wait)
    events, due, place, late, came = _Events(""), time.perf_counter(), 0, [], []
    while due < end:
        piece = text[place % len(text) :][:PIECE_CHARACTERS]
        for _event in events.of([Chunk(f"{len(late) + 1}-0", piece, place, len(late), "", "")]):
            pass
        came.append(time.perf_counter())
        late.append(came[-1] - due)
        place += len(piece)
        due += pause
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
    return late, [after - before for before, after in pairwise(came)]


if __name__ == "__main__":
    main()
