"""Holds and settlements a second, beside pgbench running as many bare statements in the same run.

    python -m benchmarks.ledger [--seconds 10] [--json FILE]

Needs DATABASE_URL (a running Tally's is found by itself) and `pgbench` on the PATH. Everything happens in a test
database that is dropped afterwards. Ours: 2 processes of 4 threads, each a hold and its settlement through
`billing.ledger`. pgbench: 8 clients on 2 threads, each the same number of SELECTs, UPDATEs and INSERTs in the same
two transactions, on tables without a trigger or a constraint. `vs_pgbench` is our rate on 1,000 wallets over its.
"""

import argparse
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any
from uuid import uuid4

import django

PROCESSES, THREADS, WALLETS = 2, 4, 1000


def main() -> None:
    """Measure, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    _setup()
    from django.db import connection

    connection.creation.create_test_db(verbosity=0)
    try:
        results = measure(arguments.seconds)
    finally:
        connection.creation.destroy_test_db(connection.settings_dict["NAME"], verbosity=0)
    for name, value in results.items():
        print(f"{name:36} {value if value is None or isinstance(value, dict) else round(value, 3)}")
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n")


def measure(seconds: float) -> dict[str, Any]:
    """Run each comparison for `seconds` and return rates in pairs of hold and settlement a second."""
    users = _make_users()
    statements = _count_statements(users[0])
    one, thousand = _ours(users[:1], seconds), _ours(users, seconds)
    bare_one, bare = _pgbench(statements, 1, seconds), _pgbench(statements, WALLETS, seconds)
    growth = {str(size): _ours_at(users, size, seconds) for size in (10_000, 100_000)}
    return {
        "pairs_per_second_1_wallet": one,
        "pairs_per_second_1000_wallets": thousand,
        "statements_per_pair": dict(statements),
        "pgbench_pairs_per_second_1_wallet": bare_one,
        "pgbench_pairs_per_second_1000_wallets": bare,
        "vs_pgbench": thousand / bare if bare else None,
        "pairs_per_second_by_entries": growth,
    }


def _setup() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings.local")
    django.setup()


def _make_users() -> list[int]:
    from accounts.models import User
    from billing import ledger
    from billing.models import EntryKind, Wallet
    from inference.catalogue import seed_catalogue

    seed_catalogue()
    users = User.objects.bulk_create(User(email=f"bench{n}@example.com") for n in range(WALLETS))
    Wallet.objects.bulk_create(Wallet(user=user) for user in users)
    for user in users:
        ledger.grant(
            user=user,
            kind=EntryKind.TOP_UP,
            amount_microcredits=10**14,
            idempotency_key=f"bench:{user.pk}",
            reason="benchmark",
        )
    return [user.pk for user in users]


def _pair(user: Any) -> None:
    from billing import ledger

    hold = ledger.hold(
        user=user, model_key="gemma-3-270m", prompt_tokens=20, max_completion_tokens=200, reference=str(uuid4())
    )
    ledger.settle(hold_id=hold.pk, completion_tokens=100)


def _count_statements(user_id: int) -> Counter[str]:
    """SELECT, UPDATE and INSERT statements of one pair, as Django sends them."""
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    from accounts.models import User

    user = User.objects.get(pk=user_id)
    with CaptureQueriesContext(connection) as captured:
        _pair(user)
    words = [query["sql"].split()[0].upper() for query in captured.captured_queries]
    return Counter(word for word in words if word in ("SELECT", "UPDATE", "INSERT"))


def _ours(users: list[int], seconds: float) -> float:
    from django.db import connection

    database = connection.settings_dict["NAME"]
    connection.close()
    context = multiprocessing.get_context("spawn")
    with context.Pool(PROCESSES) as pool:
        work = [(database, users, seconds)] * PROCESSES
        return sum(pool.starmap(_run_process, work)) / seconds


def _run_process(database: str, user_ids: list[int], seconds: float) -> int:
    """Pairs done by this process's threads."""
    _setup()
    from django.db import connection, connections

    from accounts.models import User

    connections.settings["default"]["NAME"] = database
    connection.close()
    users = list(User.objects.filter(pk__in=user_ids))
    done = [0] * THREADS
    _pair(users[0])  # imports and connections are not what is measured
    stop = time.monotonic() + seconds

    def run(number: int) -> None:
        turn = number
        while time.monotonic() < stop:
            _pair(users[turn % len(users)])
            turn += THREADS
            done[number] += 1
        connection.close()

    threads = [threading.Thread(target=run, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(done)


def _ours_at(users: list[int], entries: int, seconds: float) -> float:
    """Our rate once the ledger holds this many entries; they are made in the database, walls down."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SELECT COUNT(*) FROM billing_ledgerentry")
        missing = max(0, entries - cursor.fetchone()[0])
        cursor.execute("SET session_replication_role = replica")
        cursor.execute(
            """INSERT INTO billing_ledgerentry (wallet_id, kind, amount_microcredits, balance_after_microcredits,
                   idempotency_key, inputs_hash, reason, created_at)
               SELECT (SELECT MIN(id) FROM billing_wallet) + n %% %s, 'adjustment', 1, 1,
                   gen_random_uuid()::text, '', '', now() FROM generate_series(1, %s) n""",
            [WALLETS, missing],
        )
        cursor.execute("SET session_replication_role = DEFAULT")
        cursor.execute("ANALYZE")
    return _ours(users, seconds)


def _pgbench(statements: Counter[str], wallets: int, seconds: float) -> float | None:
    """Pairs a second of the same statements, bare; None where there is no pgbench."""
    program = shutil.which("pgbench") or next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin/pgbench"))), None)
    if program is None:
        print("pgbench is not installed: no comparison", file=sys.stderr)
        return None
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE IF EXISTS bare_wallet, bare_entry")
        cursor.execute("CREATE TABLE bare_wallet AS SELECT n AS id, 0::bigint AS v FROM generate_series(1, 1000) n")
        cursor.execute("ALTER TABLE bare_wallet ADD PRIMARY KEY (id)")
        cursor.execute("CREATE TABLE bare_entry (id bigserial PRIMARY KEY, wallet bigint, v bigint)")
    database = connection.settings_dict
    environment = os.environ | {
        "PGHOST": database["HOST"],
        "PGPORT": str(database["PORT"]),
        "PGUSER": database["USER"],
        "PGPASSWORD": database["PASSWORD"],
    }
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as script:
        script.write(_bare_script(statements, wallets))
        script.flush()
        output = subprocess.run(
            [program, "-n", "-c8", "-j2", "-T", str(int(seconds)), "-f", script.name, database["NAME"]],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    return float(next(line for line in output.splitlines() if line.startswith("tps")).split()[2])


def _bare_script(statements: Counter[str], wallets: int) -> str:
    """Two transactions that begin by locking the wallet row and share the other statements evenly."""
    bare = {
        "SELECT": "SELECT v FROM bare_wallet WHERE id = :w;",
        "UPDATE": "UPDATE bare_wallet SET v = v + 1 WHERE id = :w;",
        "INSERT": "INSERT INTO bare_entry (wallet, v) VALUES (:w, 1);",
    }
    lines = [bare[word] for word, number in statements.items() for _ in range(number)]
    lines.remove(bare["SELECT"])
    lines.remove(bare["SELECT"])
    lock = "SELECT v FROM bare_wallet WHERE id = :w FOR UPDATE;"
    middle = len(lines) // 2
    halves = [["BEGIN;", lock, *half, "COMMIT;"] for half in (lines[:middle], lines[middle:])]
    return "\n".join([f"\\set w random(1, {wallets})", *halves[0], *halves[1], ""])


if __name__ == "__main__":
    main()
