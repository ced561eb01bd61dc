"""schemathesis throws generated requests at every documented operation: all of its checks, on a running server."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from billing import adjustments, ledger
from billing.models import Notice, PromotionCode
from billing.refunds import requests
from billing.topups.orders import offer_of_amount, start_topup
from billing.topups.packages import seed_packages
from billing.topups.sandbox import play
from chat.messages import send_message
from chat.saved_prompts import save_prompt
from inference.catalogue import DEMO_KEY
from inference.generations.endings import stop_generation
from inference.generations.parameters import Parameters
from inference.models import CatalogueModel
from tests.billing.holds import open_hold
from tests.support.asgi import serve
from tests.support.cast import CREDIT, PASSWORD, fund

HERE = Path(__file__).parent


@pytest.fixture
def server(staff, monkeypatch, settings):
    """A server where nothing is limited."""
    settings.API_USER_REQUESTS_PER_MINUTE = settings.API_ADDRESS_REQUESTS_PER_MINUTE = 10**9
    settings.CODE_TRIES_PER_USER = settings.CODE_TRIES_PER_ADDRESS = "1000000/h"
    unlimited = {"count": 1, "limit": 10**9, "should_limit": False, "time_left": 60}
    monkeypatch.setattr("core.rest.throttles._count", lambda *args, **options: unlimited)
    monkeypatch.setattr("monitoring.machine.WORKERS_ANSWER_SECONDS", 0.02)
    with serve() as url:
        yield url


@pytest.fixture
def things(staff, alice, with_key):
    """The superuser, who asks, owns something of everything; by the names of the paths' parameters."""
    seed_packages()
    fund(staff, 10_000 * CREDIT)
    hold = ledger.settle(hold_id=open_hold(staff).pk, completion_tokens=3)
    topup = start_topup(user=staff, offer=offer_of_amount(500), idempotency_key="k")
    play(topup=topup, action="pay")
    refund = requests.request_refund(by=alice, amount=1, reason="r", idempotency_key="k", hold=hold)
    adjustment = adjustments.adjust_credits(
        user=alice, amount_microcredits=5000 * CREDIT, idempotency_key="k", reason="r", by=staff
    )
    exchange = send_message(
        user=staff,
        conversation=None,
        model=CatalogueModel.objects.get(key=DEMO_KEY),
        text="Hello",
        parameters=Parameters(),
        idempotency_key="k",
    )
    stop_generation(generation=exchange.answer.generation)  # its events end at once
    return {
        "key": DEMO_KEY,
        "generation_id": exchange.answer.generation_id,
        "conversation_id": exchange.conversation.pk,
        "message_id": exchange.answer.pk,
        "user_id": alice.pk,
        "key_id": with_key(staff).key.pk,
        "hold_id": hold.pk,
        "entry_id": hold.entries.first().pk,
        "topup_id": topup.pk,
        "prompt_id": save_prompt(user=staff, name="Fox", text="Be a fox.").pk,
        "notice_id": Notice.objects.create(user=staff, name="low_balance", path="/credits/").pk,
        "refund_id": refund.pk,
        "adjustment_id": adjustment.pk,
        "code_id": PromotionCode.objects.create(code="X1", credits_microcredits=CREDIT).pk,
    }


def run(url, tmp_path, things, *arguments):
    """Run schemathesis, with these identifiers where any are given; it must find nothing."""
    config = (HERE / "schemathesis.toml").read_text()
    if things:
        written = (f'"path.{name}" = {json.dumps(value, default=str)}\n' for name, value in things.items())
        config = "[parameters]\n" + "".join(written) + config
    (tmp_path / "schemathesis.toml").write_text(config)
    program = [Path(sys.executable).with_name("schemathesis"), "--config-file", tmp_path / "schemathesis.toml"]
    checks = ["--checks=all", "--suppress-health-check=all", "--request-timeout=60", "--warnings=off"]
    done = subprocess.run(
        # /v1/ has tests of its own with OpenAI's clients: a plain answer there waits for a worker.
        [*program, "run", f"{url}/api/v1/schema/", "--exclude-path-regex=^/v1/", *checks, *arguments],
        env=os.environ
        | {
            "PYTHONPATH": str(HERE.parents[1]),
            "SCHEMATHESIS_HOOKS": "tests.api.schemathesis_hooks",
            "TALLY_STATUSES": str(tmp_path / "statuses.json"),
            "TALLY_URL": url,
            "TALLY_EMAIL": "staff@example.com",
            "TALLY_PASSWORD": PASSWORD,
        },
        cwd=tmp_path,  # it leaves a folder
        capture_output=True,
        text=True,
        timeout=7000,
        check=False,
    )
    statuses = json.loads((tmp_path / "statuses.json").read_text())
    print(done.stdout[-20_000:], done.stderr[-5000:], statuses)
    assert done.returncode == 0
    assert statuses["401"] < sum(statuses.values()) / 10  # it was let in
    assert statuses["200"] > sum(statuses.values()) / 10  # and tried something


@pytest.mark.usefixtures("without_answers")
@pytest.mark.django_db(transaction=True)
def test_a_few_generated_requests_find_nothing(server, things, tmp_path, faults):
    run(server, tmp_path, things, "--max-examples=3", "--phases=examples,fuzzing", "--seed=1")
    assert faults() == []


@pytest.mark.thorough
@pytest.mark.timeout(7200)
@pytest.mark.usefixtures("without_answers")
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("phases", ["examples,coverage,fuzzing", "stateful"])
@pytest.mark.parametrize("are_known", [True, False], ids=["known identifiers", "any identifiers"])
def test_a_hundred_generated_requests_an_operation_find_nothing(server, things, tmp_path, faults, are_known, phases):
    run(
        server,
        tmp_path,
        things if are_known else {},
        "--max-examples=100",
        f"--phases={phases}",
        "--continue-on-failure",
    )
    assert faults() == []
