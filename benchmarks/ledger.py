"""Holds and settlements a second, beside pgbench running the same statements in the same run.

    python -m benchmarks.ledger [--seconds 5] [--rounds 3] [--json FILE]

Needs DATABASE_URL (a running Tally's is found by itself) and `pgbench` on the PATH. Everything happens in test
databases that are dropped afterwards. Ours: 2 processes of 4 threads, each a hold and its settlement through
`billing.ledger`. pgbench, 8 clients on 2 threads, three times:

- `vs_pgbench`: the very calls of `billing.ledger.hot_path`, bare of Django and of Python, on the same tables with
  their walls, sent as pgbench sends them unless told otherwise.
- `vs_pgbench_prepared`: the same, prepared as ours are. What is missing to 1 is what our code costs on top of what the
  database does.
- `vs_pgbench_bare_tables`: what the least ledger would do in the same two transactions (lock a row twice, insert a
  hold, an entry and a use, close the hold), six statements on two tables without a trigger, a foreign key or a
  constraint. What is missing to 1 is our code and the walls together, less what two calls save.

Ours and pgbench's take turns for `--rounds` rounds; the figures are medians. So do the ledgers of 10,000 and of
1,000,000 entries, which show how the rate grows.
"""

import argparse
import multiprocessing
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any
from uuid import uuid4

from benchmarks.databases import empty_database, run_sql, setup, tell

PROCESSES, THREADS, WALLETS = 2, 4, 1000
PAIRS_BEFORE = 3  # of each wallet, before anything is measured
PROMPT, MOST, PRODUCED = 20, 200, 100
MODEL = "gemma-3-270m"
SIZES = (10_000, 100_000, 1_000_000)


def main() -> None:
    """Measure, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    setup()
    with empty_database():
        results = measure(arguments.seconds, arguments.rounds)
    tell(results, arguments.json)


def measure(seconds: float, rounds: int) -> dict[str, Any]:
    """Run each comparison `rounds` times for `seconds`; return medians, in pairs of hold and settlement a second."""
    from django.db import connection

    database, users = connection.settings_dict["NAME"], _make_users()
    _make_bare_tables()
    _begin_ledger(users)
    run_sql("VACUUM ANALYZE")
    sides: dict[str, Callable[[], float | None]] = {
        "pairs_per_second_1_wallet": lambda: _ours(database, users[:1], seconds),
        "pgbench_pairs_per_second_1_wallet": lambda: _pgbench(_replay_script(users[:1]), seconds),
        "pairs_per_second_1000_wallets": lambda: _ours(database, users, seconds),
        "pgbench_pairs_per_second_1000_wallets": lambda: _pgbench(_replay_script(users), seconds),
        "pgbench_prepared_pairs_per_second": lambda: _pgbench(_replay_script(users), seconds, "prepared"),
        "pgbench_bare_tables_pairs_per_second": lambda: _pgbench(BARE_SCRIPT, seconds),
    }
    rates = _take_turns(sides, rounds)
    ours, theirs = rates["pairs_per_second_1000_wallets"], rates["pgbench_pairs_per_second_1000_wallets"]
    prepared, bare = rates["pgbench_prepared_pairs_per_second"], rates["pgbench_bare_tables_pairs_per_second"]
    growth, proof = _measure_growth(database, users, seconds, rounds)
    return {
        **rates,
        "vs_pgbench": ours / theirs if ours and theirs else None,
        "vs_pgbench_prepared": ours / prepared if ours and prepared else None,
        "vs_pgbench_bare_tables": ours / bare if ours and bare else None,
        "pairs_per_second_by_entries": growth,
        "largest_vs_smallest_ledger": growth[str(SIZES[-1])] / growth[str(SIZES[0])],
        "verify_ledger_on_the_largest": proof,
        "server": _describe_server(),
    }


def _take_turns(sides: dict[str, Callable[[], float | None]], rounds: int) -> dict[str, float | None]:
    """The median of each side; a noisy minute of the machine meets all of them. A round before does not count."""
    figures: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(1 + rounds):
        for name, run in sides.items():
            rate = run()
            figures[name] += [] if rate is None or number == 0 else [rate]
    return {name: statistics.median(values) if values else None for name, values in figures.items()}


def _describe_server() -> dict[str, str]:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT name, setting FROM pg_settings"
            " WHERE name IN ('server_version', 'fsync', 'synchronous_commit', 'shared_buffers')"
        )
        return dict(cursor.fetchall()) | {"processors": str(os.cpu_count())}


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
            kind=EntryKind.BONUS,
            amount_microcredits=10**14,
            idempotency_key=f"bench:{user.pk}",
            reason="benchmark",
        )
    return [user.pk for user in users]


def _begin_ledger(users: list[int]) -> None:
    """A few pairs of each wallet: the statements of an empty ledger read whole tables, and are planned anew only once
    PostgreSQL has noticed that they have grown, after a minute or so."""
    from accounts.models import User

    for user in User.objects.filter(pk__in=users):
        for _ in range(PAIRS_BEFORE):
            _pair(user)


def _pair(user: Any) -> None:
    from billing import ledger

    hold = ledger.hold(
        user=user, model_key=MODEL, prompt_tokens=PROMPT, max_completion_tokens=MOST, reference=str(uuid4())
    )
    ledger.settle(hold_id=hold.pk, completion_tokens=PRODUCED)


def _ours(database: str, users: list[int], seconds: float) -> float:
    context = multiprocessing.get_context("spawn")
    with context.Pool(PROCESSES, _meet_at, [context.Barrier(PROCESSES)]) as pool:
        work = [(database, users, seconds)] * PROCESSES
        return sum(pool.starmap(_run_process, work)) / seconds


def _meet_at(barrier: Any) -> None:
    """In each process: where all wait for each other before they begin."""
    global _all_ready
    _all_ready = barrier


def _run_process(database: str, user_ids: list[int], seconds: float) -> int:
    """Pairs done by this process's threads."""
    setup()
    from django.db import connection, connections

    from accounts.models import User

    connections.settings["default"]["NAME"] = database
    connection.close()
    users = list(User.objects.filter(pk__in=user_ids))
    done = [0] * THREADS
    _pair(users[0])  # imports and connections are not what is measured
    _all_ready.wait(60)
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


def _measure_growth(
    database: str, users: list[int], seconds: float, rounds: int
) -> tuple[dict[str, float], dict[str, float]]:
    """Our rate by the size of the ledger, each in a copy of its own, in turns; and the proof of the largest."""
    names = {size: f"{database}_{size}" for size in SIZES}
    try:
        for size, name in names.items():
            _copy_database(database, name, size)
        rates = _take_turns(
            {str(size): lambda name=name: _ours(name, users, seconds) for size, name in names.items()},  # type: ignore[misc]
            rounds,
        )
        return {size: rate or 0.0 for size, rate in rates.items()}, _verify(names[SIZES[-1]])
    finally:
        for name in names.values():
            run_sql(f"DROP DATABASE IF EXISTS {name}")


def _verify(database: str) -> dict[str, float]:
    """How long `verify_ledger` takes for a database, in seconds, for how many entries, and how many faults it finds."""
    from billing.ledger.verification.checks import verify

    source = _current_database()
    _use_database(database)
    try:
        run_sql(ANSWER)
        run_sql(import_module("billing.migrations.0034_entries_in_chains").FILL)
        run_sql("VACUUM ANALYZE")
        started = time.monotonic()
        report = verify()
        return {
            "seconds": time.monotonic() - started,
            "entries": report.entries,
            "faults": len(report.faults),
        }
    finally:
        _use_database(source)


def _current_database() -> str:
    from django.db import connection

    return str(connection.settings_dict["NAME"])


def _copy_database(source: str, name: str, entries: int) -> None:
    """Copy a database and fill the copy's ledger up: settled holds, their entries and the uses of grants."""
    _use_database("postgres")  # a database with a connection to it cannot be copied
    run_sql(f"DROP DATABASE IF EXISTS {name}")
    run_sql(f"CREATE DATABASE {name} TEMPLATE {source}")
    _use_database(name)
    try:
        run_sql(GROW, {"missing": entries - _count_entries(), "wallets": WALLETS, "model": MODEL})
        run_sql("VACUUM ANALYZE")
        run_sql("CHECKPOINT")  # or the server still writes all of that down while we measure
    finally:
        _use_database(source)


def _use_database(name: str) -> None:
    from django.db import connection

    connection.close()
    connection.close_pool()  # type: ignore[attr-defined]  # it would go on with the other database
    connection.settings_dict["NAME"] = name


def _count_entries() -> int:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SELECT COUNT(*) FROM billing_ledgerentry")
        return int(cursor.fetchone()[0])


# The walls are down while these run. What they make adds up all the same: `verify_ledger` is run on it.
GROW = """
SET session_replication_role = replica;
INSERT INTO billing_hold (id, wallet_id, reference, state, model_key, prompt_microcredits_per_token,
    completion_microcredits_per_token, is_from_cache, prompt_tokens, max_completion_tokens, amount_microcredits,
    completion_tokens, charged_microcredits, created_at, expires_at, closed_at)
SELECT gen_random_uuid(), (SELECT MIN(id) FROM billing_wallet) + n %% %(wallets)s, 'grown:' || n, 'settled', %(model)s,
    p.prompt, p.completion, false, 1, 1, p.prompt + p.completion, 1, p.prompt + p.completion, now(), now(), now()
    FROM generate_series(1, %(missing)s) n, (
        SELECT prompt_microcredits_per_token AS prompt, completion_microcredits_per_token AS completion
        FROM billing_price WHERE model_key = %(model)s LIMIT 1) p;
INSERT INTO billing_ledgerentry (wallet_id, kind, amount_microcredits, balance_after_microcredits, idempotency_key,
    inputs_hash, hold_id, reason, created_at)
SELECT h.wallet_id, 'usage', -h.charged_microcredits,
    w.balance_microcredits - h.charged_microcredits * row_number() OVER (PARTITION BY w.id ORDER BY h.id),
    'usage:' || h.id, repeat('0', 64), h.id, h.reference, now()
    FROM billing_hold h JOIN billing_wallet w ON w.id = h.wallet_id WHERE reference LIKE 'grown:%%' ORDER BY w.id, h.id;
INSERT INTO billing_grantuse (grant_id, entry_id, amount_microcredits)
SELECT g.id, e.id, e.amount_microcredits FROM billing_ledgerentry e JOIN billing_grant g USING (wallet_id)
    WHERE e.kind = 'usage' AND e.reason LIKE 'grown:%%';
UPDATE billing_grant g SET remaining_microcredits = remaining_microcredits - used FROM (
    SELECT wallet_id, SUM(charged_microcredits) AS used FROM billing_hold
    WHERE reference LIKE 'grown:%%' GROUP BY 1) grown
    WHERE grown.wallet_id = g.wallet_id;
UPDATE billing_wallet w SET balance_microcredits = balance_microcredits - used FROM (
    SELECT wallet_id, SUM(charged_microcredits) AS used FROM billing_hold
    WHERE reference LIKE 'grown:%%' GROUP BY 1) grown
    WHERE grown.wallet_id = w.id;
SET session_replication_role = DEFAULT;
"""

# Each charge has its answer, which the benchmark leaves out, as it does the chains.
ANSWER = """
SET session_replication_role = replica;
INSERT INTO inference_generation (id, user_id, model_id, hold_id, idempotency_key, inputs_hash, end_user, state, error,
    prompt_token_ids, prompt_tokens, max_completion_tokens, requested_completion_tokens, temperature, top_p, top_k,
    seed, stop, cache_key, text, completion_tokens, finish_reason, created_at, enqueued_at, ended_at)
SELECT h.id, w.user_id, h.model_key, h.id, h.id::text, '', '', 'completed', '', '{}', h.prompt_tokens,
    h.max_completion_tokens, h.max_completion_tokens, 0, 1, 1, 1, '{}', '', '', h.completion_tokens, 'stop',
    h.created_at, h.created_at, h.closed_at
    FROM billing_hold h JOIN billing_wallet w ON w.id = h.wallet_id WHERE h.state = 'settled';
UPDATE billing_hold SET reference = 'generation:' || id WHERE state = 'settled';
SET session_replication_role = DEFAULT;
"""


def _pgbench(script: str, seconds: float, protocol: str = "simple") -> float | None:
    """Transactions of a script a second; None where there is no pgbench."""
    if protocol == "simple":
        script = script.replace(":h_id", "':h_id'")  # a value that goes into the text
    program = shutil.which("pgbench") or next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin/pgbench"))), None)
    if program is None:
        print("pgbench is not installed: no comparison", file=sys.stderr)
        return None
    from django.db import connection

    database = connection.settings_dict
    environment = os.environ | {
        "PGHOST": database["HOST"],
        "PGPORT": str(database["PORT"]),
        "PGUSER": database["USER"],
        "PGPASSWORD": database["PASSWORD"],
    }
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as file:
        file.write(script)
        file.flush()
        output = subprocess.run(
            [program, "-n", "-M", protocol, "-c8", "-j2", "-T", str(int(seconds)), "-f", file.name, database["NAME"]],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
    if output.returncode != 0:
        raise RuntimeError(f"pgbench: {output.stderr[-1000:]}")
    return float(next(line for line in output.stdout.splitlines() if line.startswith("tps")).split()[2])


def _replay_script(users: list[int]) -> str:
    """A hold and its settlement in the calls that `billing.ledger` makes, for a user drawn each time."""
    from billing.ledger import hot_path

    def fill(statement: str, columns: str, *values: str) -> str:
        return statement.format(hold=columns, wallet="(s.wallet).*").replace("%s", "{}").format(*values)

    reference, later = "'bench:' || :number::text", "now() + interval '1 hour'"
    hold = (f"gen_random_uuid(), {reference}, '{MODEL}', {PROMPT}, {MOST}, NULL, NULL, now(), {later}").split(", ")
    lines = [
        f"\\set user random({users[0]}, {users[-1]})",
        "\\set number random(1, 1000000000000000)",
        "BEGIN;",
        fill(hot_path.PLACE_HOLD, "h.id", ":user::bigint", *hold) + " \\gset h_",
        "COMMIT;",
        "BEGIN;",
        fill(hot_path.SETTLE_HOLD, "(s.hold).*", ":h_id::uuid", str(PRODUCED), "now()") + ";",
        "COMMIT;",
    ]
    return "\n".join(lines) + "\n"


def _make_bare_tables() -> None:
    run_sql("CREATE TABLE bare_wallet AS SELECT n AS id, 0::bigint AS v FROM generate_series(1, 1000) n")
    run_sql("ALTER TABLE bare_wallet ADD PRIMARY KEY (id)")
    run_sql("CREATE TABLE bare_entry (id bigserial PRIMARY KEY, wallet bigint, v bigint)")


BARE_SCRIPT = f"""
\\set w random(1, {WALLETS})
BEGIN;
SELECT v FROM bare_wallet WHERE id = :w FOR UPDATE;
INSERT INTO bare_entry (wallet, v) VALUES (:w, 1);
COMMIT;
BEGIN;
SELECT v FROM bare_wallet WHERE id = :w FOR UPDATE;
UPDATE bare_wallet SET v = v + 1 WHERE id = :w;
INSERT INTO bare_entry (wallet, v) VALUES (:w, 1);
INSERT INTO bare_entry (wallet, v) VALUES (:w, 1);
COMMIT;
"""


if __name__ == "__main__":
    main()
