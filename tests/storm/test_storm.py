"""Whatever dies, nothing is charged that was not delivered or saved, and nothing delivered that was not charged."""

import json
import os
import threading
import time
from pathlib import Path

import pytest

from tests.e2e.asking import COMPLETION_PRICE, PROMPT_PRICE
from tests.faults.customers import Customer, warm_up
from tests.storm.chaos import Chaos
from tests.storm.clients import Client
from tests.support.stack import wait_until

SECONDS = float(os.environ.get("STORM_SECONDS", "600"))
SEED = int(os.environ.get("STORM_SEED", "19"))
WAYS = ("plain", "plain", "streamed", "streamed", "keyed", "keyed", "native")
AT_REST_SECONDS = 60
LIVE = "SELECT count(*) FROM inference_generation WHERE state IN ('queued', 'running')"

ANSWERS = f"""
SELECT g.id, g.state, g.idempotency_key, COALESCE(-SUM(e.amount_microcredits), 0) AS net,
    g.prompt_tokens * {PROMPT_PRICE} + g.completion_tokens * {COMPLETION_PRICE} AS price
FROM inference_generation g JOIN accounts_user u ON u.id = g.user_id
LEFT JOIN billing_ledgerentry e ON e.hold_id = g.hold_id
WHERE u.email = %s GROUP BY g.id"""


def unfair(client, rows):
    """What was charged and not given, or given and not charged, a line each."""
    notes = client.notes
    keyed = set().union(*notes.keyed.values()) if notes.keyed else set()
    for generation_id, state, _key, net, price in rows:
        is_given = generation_id in notes.whole or generation_id in keyed
        is_saved = client.way == "native" and state == "completed"
        if net not in (0, price):
            yield f"{client.way} {generation_id}: {state}, charged {net} of {price}"
        if net and not (is_given or is_saved):
            yield f"{client.way} {generation_id}: {state}, charged {net} and not given"
        if not net and (is_given or is_saved):
            yield f"{client.way} {generation_id}: {state}, given for nothing"
    for key, ids in notes.keyed.items():
        if len(ids) > 1:
            yield f"keyed {key}: {len(ids)} answers"
    yield from (f"keyed {key}: not answered" for key in notes.unanswered)


@pytest.mark.storm
@pytest.mark.timeout(int(SECONDS) + 900)
def test_a_storm_costs_nobody_what_they_did_not_get(stack, tmp_path):
    warm_up(stack)
    over = threading.Event()
    clients = [Client(Customer(stack), way, over) for way in WAYS]
    chaos = Chaos(stack, SEED)
    work = [*(client.run for client in clients), chaos.run]
    threads = [threading.Thread(target=each) for each in work]
    for thread in threads:
        thread.start()
    time.sleep(SECONDS)
    chaos.stop()
    threads[-1].join(180)
    over.set()
    for thread in threads:
        thread.join(400)
    wait_until(lambda: stack.runtime["healthy"], 60, "everything is back")
    rested = time.monotonic()
    wait_until(lambda: stack.query(LIVE) == [(0,)], AT_REST_SECONDS, "no answer is stuck")
    wait_until(lambda: not stack.query("SELECT 1 FROM inference_delivery"), AT_REST_SECONDS, "nothing to hand over")
    rest_seconds = time.monotonic() - rested
    rows = {client: stack.query(ANSWERS, client.customer.email) for client in clients}
    faults = [fault for client in clients for fault in unfair(client, rows[client])]
    figures = {
        "seconds": SECONDS,
        "seed": SEED,
        "faults_done": dict(sorted(chaos.done.items())),
        "longest_until_healthy_s": round(chaos.longest_seconds, 1),
        "slow": chaos.slow,
        "tries": sum(client.notes.tries for client in clients),
        "answers": sum(map(len, rows.values())),
        "whole": sum(len(client.notes.whole) for client in clients),
        "broken_streams": sum(len(client.notes.broken) for client in clients),
        "keyed": sum(len(client.notes.keyed) for client in clients),
        "given_back": stack.query("SELECT count(*) FROM billing_ledgerentry WHERE kind = 'refund'")[0][0],
        "rest_s": round(rest_seconds, 1),
        "faults": faults,
    }
    print(json.dumps(figures, indent=1))
    if folder := os.environ.get("STORM_FIGURES"):
        Path(folder).write_text(json.dumps(figures, indent=1) + "\n")
    assert [stack.wallet(client.customer.email)[1] for client in clients] == [0] * len(clients)
    stack.verify_ledger()
    assert faults == []
    assert chaos.slow == []
    assert sum(chaos.done.values()) > SECONDS / 40
