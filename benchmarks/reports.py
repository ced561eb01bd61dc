"""What staff wait for reports: 2,000,000 entries of 100,000 wallets over two years, in one run.

    python -m benchmarks.reports [--rounds 5] [--json FILE]

Needs DATABASE_URL (a running Tally's is found by itself). Everything happens in test databases that are dropped
afterwards. All but the last 5,000 entries are summed by `billing.reporting.ledger_days`, as the workers do every ten
minutes; `unsummed` is a month before anything was, as directly after an upgrade. Milliseconds, medians.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from benchmarks.databases import empty_database, run_sql, setup, tell

ENTRIES, WALLETS, NEW = 2_000_000, 100_000, 5_000
MODELS = ("gemma-3-270m", "gemma-3-1b", "gemma-3-12b")


def main() -> None:
    """Measure, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    setup()
    with empty_database():
        results = measure(arguments.rounds, run_sql)
    tell(results, arguments.json)


def measure(rounds: int, run: Callable[..., Any]) -> dict[str, float]:
    """Make the entries with `run`, which runs SQL without the walls, and return milliseconds by name."""
    from billing.models import LedgerDaysMark, LedgerEntry
    from billing.reporting.ledger_days import sum_new_days
    from monitoring.reports.catalogue import KINDS
    from monitoring.reports.periods import ReportPeriod, today

    run(GROW, {"entries": ENTRIES, "wallets": WALLETS, "models": list(MODELS)})
    run("ANALYZE")
    month = ReportPeriod(today() - timedelta(days=30), today() - timedelta(days=1))
    year = ReportPeriod(today() - timedelta(days=365), today() - timedelta(days=1))
    results = {"revenue_month_unsummed": _median(lambda: KINDS["revenue"].make(month), 1)}
    started = time.perf_counter()
    while sum_new_days():
        pass
    results["summing_all"] = (time.perf_counter() - started) * 1000
    last = LedgerEntry.objects.order_by("-pk").values_list("pk", flat=True)[NEW]
    LedgerDaysMark.objects.update(last_entry=last)  # as if the last were new; they count twice
    run("ANALYZE")
    for name, kind in KINDS.items():
        results[f"{name}_month"] = _median(lambda kind=kind: kind.make(month), rounds)
        results[f"{name}_year"] = _median(lambda kind=kind: kind.make(year), rounds)
    return results


def _median(make: Callable[[], Any], rounds: int) -> float:
    took = []
    for _round in range(rounds):
        started = time.perf_counter()
        make()
        took.append((time.perf_counter() - started) * 1000)
    return statistics.median(took)


# The walls are down while this runs: it is only read. One entry in forty is a payment, one in forty a bonus, one in two
# hundred a refund; all others are answers.
GROW = """
SET session_replication_role = replica;
INSERT INTO accounts_user (email, password, is_superuser, is_staff, is_active, first_name, last_name, date_joined,
    language, time_zone, look, login_epoch)
SELECT 'customer' || n || '@example.com', '', false, false, true, '', '', now(), '', 'UTC', 'system', 0
    FROM generate_series(1, %(wallets)s) n;
INSERT INTO billing_wallet (user_id, balance_microcredits, held_microcredits, created_at)
    SELECT id, 1000000, 0, now() FROM accounts_user;
CREATE TABLE grown AS SELECT n, gen_random_uuid() AS hold, now() - interval '1 hour' - interval '729 days'
        * (%(entries)s - n) / %(entries)s AS at, (SELECT min(id) FROM billing_wallet) + n %% %(wallets)s AS wallet,
    CASE WHEN n %% 40 = 0 THEN 'top_up' WHEN n %% 40 = 1 THEN 'bonus' WHEN n %% 200 = 2 THEN 'refund' ELSE 'usage' END
        AS kind,
    (%(models)s::text[])[1 + n %% 3] AS model FROM generate_series(1, %(entries)s) n;
INSERT INTO billing_hold (id, wallet_id, reference, state, model_key, prompt_microcredits_per_token,
    completion_microcredits_per_token, is_from_cache, prompt_tokens, max_completion_tokens, amount_microcredits,
    completion_tokens, charged_microcredits, created_at, expires_at, closed_at)
SELECT hold, wallet, 'grown:' || n, 'settled', model, 20, 40, n %% 10 = 3, 1, 1, 60, 1, 60, at, at, at
    FROM grown WHERE kind IN ('usage', 'refund');
INSERT INTO billing_topup (id, user_id, provider, state, amount_minor, currency, credits_microcredits,
    bonus_microcredits, idempotency_key, inputs_hash, checkout_reference, checkout_url, payment_reference,
    refunded_minor, disputed_minor, refund_readings, clawed_back_microcredits, claw_back_steps, created_at, paid_at)
SELECT hold, w.user_id, 'bank', 'paid', 500, 'usd', 500000000, 0, 'grown:' || n, '', '', '', 'grown:' || n,
    0, 0, 0, 0, 0, at, at FROM grown JOIN billing_wallet w ON w.id = grown.wallet WHERE kind = 'top_up';
INSERT INTO billing_ledgerentry (wallet_id, kind, amount_microcredits, balance_after_microcredits, idempotency_key,
    inputs_hash, hold_id, reason, created_at)
SELECT wallet, kind, CASE kind WHEN 'usage' THEN -60 WHEN 'refund' THEN 20 ELSE 500000000 END, 10,
    CASE WHEN kind = 'top_up' THEN 'topup:' || hold ELSE 'grown:' || n END, repeat('0', 64),
    CASE WHEN kind IN ('usage', 'refund') THEN hold END, 'grown', at FROM grown ORDER BY n;
DROP TABLE grown;
SET session_replication_role = DEFAULT;
"""


if __name__ == "__main__":
    main()
