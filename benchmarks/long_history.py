"""What a customer waits for the pages of a long history: 1,000,000 answers beside 10,000, in one run.

    python -m benchmarks.long_history [--rounds 5] [--json FILE]

Needs DATABASE_URL (a running Tally's is found by itself). Everything happens in test databases that are dropped
afterwards: one customer, whose answers are spread over 90 days and whose conversations have a hundred turns each. All
but the last 5,000 answers are summed by `billing.reporting.usage`, as the workers do every ten minutes. Milliseconds,
medians.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

from benchmarks.databases import empty_database, run_sql, setup, tell

SIZES = (10_000, 1_000_000)
NEW = 5_000
TURNS = 100
MODEL = "gemma-3-270m"


def main() -> None:
    """Measure, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    setup()
    with empty_database():
        user = _make_user()
        results = {f"{name}_{size}": value for size in SIZES for name, value in _measure(user, size, arguments.rounds)}
    tell(results, arguments.json)


def _measure(user: Any, size: int, rounds: int) -> Iterator[tuple[str, float]]:
    from billing.models import UsageMark
    from billing.reporting.history import HistoryForm, LatestPaginator, entries_of
    from billing.reporting.usage import last_days, sum_new_usage, summarise_usage
    from chat.search import Question, search

    run_sql(GROW, {"wallet": user.wallet.pk, "user": user.pk, "size": size, "model": MODEL, "turns": TURNS})
    run_sql("VACUUM ANALYZE")
    last = entries_of(user).values_list("pk", flat=True)[NEW]
    while sum_new_usage():
        pass
    UsageMark.objects.update(last_entry=last)  # as if the last were new; their sums are there twice, in the same time

    def of_days(days: int) -> None:
        since, until = last_days(days)
        summarise_usage(user, since=since, until=until)

    def between_moments() -> None:
        since, until = last_days(90)
        summarise_usage(user, since=since + timedelta(hours=6), until=until - timedelta(hours=30))

    def page(**query: str) -> None:
        entries = HistoryForm(query).narrow_latest(entries_of(user)).select_related("hold")
        list(LatestPaginator(entries, 50).get_page(1))

    questions: dict[str, Callable[[], Any]] = {
        "usage_90_days": lambda: of_days(90),
        "usage_7_days": lambda: of_days(7),
        "usage_between_moments": between_moments,
        "history": page,
        "history_of_adjustments": lambda: page(kind="adjustment"),
        "history_text_of_none": lambda: page(text="no movement has this"),
        "history_text_of_all": lambda: page(text=MODEL),
        "history_of_a_day": lambda: page(since=str(user.date_joined.date()), until=str(user.date_joined.date())),
        "conversations_text_of_none": lambda: search(user=user, question=Question("absent words")),
        "conversations_text_of_all": lambda: search(user=user, question=Question("answer")),
    }
    for name, ask in questions.items():
        yield name, _median(ask, rounds)


def _median(ask: Callable[[], Any], rounds: int) -> float:
    took = []
    for _round in range(rounds):
        started = time.perf_counter()
        ask()
        took.append((time.perf_counter() - started) * 1000)
    return statistics.median(took)


def _make_user() -> Any:
    from accounts.models import User
    from billing.models import Wallet
    from inference.catalogue import seed_catalogue

    seed_catalogue()
    user = User.objects.create(email="long@example.com")
    Wallet.objects.get_or_create(user=user)
    return User.objects.get(pk=user.pk)


# The walls are down while this runs: it is only read. Each answer is a minute or less after the one before it.
GROW = """
SET session_replication_role = replica;
DELETE FROM chat_messagewords; DELETE FROM chat_message; DELETE FROM chat_conversation;
DELETE FROM billing_ledgerentry; DELETE FROM billing_hold; DELETE FROM billing_usageday; DELETE FROM billing_usagemark;
INSERT INTO billing_hold (id, wallet_id, reference, state, model_key, prompt_microcredits_per_token,
    completion_microcredits_per_token, is_from_cache, prompt_tokens, max_completion_tokens, amount_microcredits,
    completion_tokens, charged_microcredits, created_at, expires_at, closed_at)
SELECT gen_random_uuid(), %(wallet)s, 'grown:' || n, 'settled', %(model)s, 20, 40, false, 1, 1, 60, 1, 60, at, at, at
    FROM (SELECT n, now() - interval '1 hour' - interval '89 days' * (%(size)s - n) / %(size)s AS at
          FROM generate_series(1, %(size)s) n) numbers;
INSERT INTO billing_ledgerentry (wallet_id, kind, amount_microcredits, balance_after_microcredits, idempotency_key,
    inputs_hash, hold_id, reason, created_at)
SELECT h.wallet_id, 'usage', -60, 10, 'usage:' || h.id, repeat('0', 64), h.id, h.reference, h.created_at
    FROM billing_hold h ORDER BY h.created_at;
INSERT INTO chat_conversation (id, user_id, title, model_id, created_at, updated_at)
SELECT gen_random_uuid(), %(user)s, 'Talk ' || n, %(model)s, now(), now() - interval '1 minute' * n
    FROM generate_series(1, %(size)s / %(turns)s) n;
INSERT INTO chat_message (conversation_id, role, text, created_at)
SELECT c.id, 'user', repeat('a question or an answer of some words ', 10), now()
    FROM chat_conversation c, generate_series(1, %(turns)s) n;
INSERT INTO chat_messagewords SELECT id, chat_words(%(user)s, text) FROM chat_message;
SET session_replication_role = DEFAULT;
"""


if __name__ == "__main__":
    main()
