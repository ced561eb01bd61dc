"""How long the API takes, beside a bare Django view of the same server in the same run.

    python -m benchmarks.api [--requests 300] [--json FILE]

Needs DATABASE_URL and REDIS_URL (a running Tally's are found by itself) and the demo model's tokenizer for the
estimate. One uvicorn process serves a test database that is dropped afterwards; one client asks the views in turn over
one connection, so that whatever else the machine does slows all of them alike. The bare view answers a constant after
the same middleware; `wallet_vs_bare` and `estimate_vs_bare` are ratios of medians.
"""

import argparse
import json
import logging
import multiprocessing
import os
import statistics
import time
from pathlib import Path
from typing import Any

import django
import httpx

WARM_UP = 20
ESTIMATE = {"model": "gemma-3-270m", "messages": [{"role": "user", "content": "Why is the sky blue? " * 20}]}


def main() -> None:
    """Measure, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=300)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    _setup()
    logging.getLogger("httpx").setLevel(logging.WARNING)  # a line a request is time that is measured
    from django.db import connection

    connection.creation.create_test_db(verbosity=0)
    try:
        results = _measure_served(arguments.requests)
    finally:
        connection.creation.destroy_test_db(connection.settings_dict["NAME"], verbosity=0)
    for name, value in results.items():
        print(f"{name:28} {value if value is None else round(value, 3)}")
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n")


def measure(url: str, key: str, requests: int) -> dict[str, float | None]:
    """Ask each view `requests` times in turn and return medians and 95th percentiles in milliseconds."""
    asked: dict[str, tuple[str, str, Any]] = {
        "bare": ("GET", "/bare", None),
        "wallet": ("GET", "/api/v1/wallet", None),
        "ledger_entries": ("GET", "/api/v1/ledger-entries", None),
        "estimate": ("POST", "/api/v1/estimate", ESTIMATE),
    }
    times: dict[str, list[float]] = {name: [] for name in asked}
    with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=60) as client:
        for turn in range(WARM_UP + requests):
            for name, (method, path, body) in asked.items():
                started = time.perf_counter()
                answer = client.request(method, path, json=body)
                if turn >= WARM_UP and answer.status_code == 200:
                    times[name].append((time.perf_counter() - started) * 1000)
    results: dict[str, float | None] = {}
    for name, taken in times.items():
        results[f"{name}_p50_ms"] = statistics.median(taken) if taken else None
        results[f"{name}_p95_ms"] = statistics.quantiles(taken, n=20)[-1] if len(taken) > 1 else None
    bare = results["bare_p50_ms"]
    for name in ("wallet", "estimate"):
        ours = results[f"{name}_p50_ms"]
        results[f"{name}_vs_bare"] = ours / bare if ours and bare else None
    return results


def _measure_served(requests: int) -> dict[str, float | None]:
    from django.db import connection

    key = _make_customer()
    database = connection.settings_dict["NAME"]
    connection.close()
    context = multiprocessing.get_context("spawn")
    ports = context.Queue()
    server = context.Process(target=_serve, args=(database, ports), daemon=True)
    server.start()
    try:
        return measure(f"http://127.0.0.1:{ports.get(timeout=60)}", key, requests)
    finally:
        server.terminate()
        server.join()


def _setup() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings.local")
    django.setup()


def _make_customer() -> str:
    """A customer with a hundred entries; return the text of a key."""
    from accounts.api_keys import create_key
    from accounts.models import Scope, User
    from billing import ledger
    from billing.models import EntryKind
    from inference.catalogue import DEMO_KEY, seed_catalogue
    from inference.models import CatalogueModel

    seed_catalogue()
    CatalogueModel.objects.filter(key=DEMO_KEY).update(unavailable_reason="")
    user = User.objects.create_user("bench@example.com")
    for number in range(100):
        ledger.grant(
            user=user,
            kind=EntryKind.BONUS,
            amount_microcredits=10**6,
            idempotency_key=f"bench:{number}",
            reason="benchmark",
        )
    return create_key(user=user, name="bench", scopes=list(Scope.values))[1]


def _serve(database: str, ports: Any) -> None:
    """Serve the whole site with a bare view beside it, on a free port that is put into `ports`."""
    _setup()
    import uvicorn
    from django.conf import settings
    from django.db import connections
    from django.http import HttpRequest, JsonResponse
    from django.urls import path

    from config import urls
    from core.serving.handlers import Dispatcher

    def bare(_request: HttpRequest) -> JsonResponse:
        return JsonResponse({"balance_microcredits": 0})

    connections.settings["default"]["NAME"] = database
    urls.urlpatterns.insert(0, path("bare", bare))
    settings.API_USER_REQUESTS_PER_MINUTE = settings.API_KEY_REQUESTS_PER_MINUTE = 10**9  # still counted

    class Server(uvicorn.Server):
        """Tells its port once it listens."""

        async def startup(self, sockets: Any = None) -> None:
            """Listen, then tell."""
            await super().startup(sockets)
            ports.put(self.servers[0].sockets[0].getsockname()[1])

    Server(uvicorn.Config(Dispatcher(), port=0, log_level="warning", lifespan="off")).run()


if __name__ == "__main__":
    main()
