"""What other people's clients get: a plain answer, a streamed one, an error they can read; each charged once.

Every client is installed apart, at its pin, into .local/clients: some ask for versions that ours exclude.
"""

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from inference.catalogue import DEMO_KEY
from inference.models import Generation, GenerationState
from tests.clients.installing import install
from tests.support.openai_clients import price
from tests.support.stack import wait_until

pytestmark = [pytest.mark.clients, pytest.mark.timeout(900)]

PROGRAMS = Path(__file__).with_name("programs")
TEXT = "The quick brown fox jumps over"


@dataclass(frozen=True, slots=True)
class Client:
    """A program that asks through one client, and what it needs. `retries` says that it gives up and asks again."""

    program: str
    packages: tuple[str, ...]
    retries: bool = False

    def __str__(self) -> str:
        return self.program.partition(".")[0]

    @property
    def is_node(self) -> bool:
        """Whether it is JavaScript."""
        return self.program.endswith(".mjs")


CLIENTS = (
    Client("openai_python.py", ("openai==3.54.0",), retries=True),
    Client("litellm_sdk.py", ("litellm==1.110.2",), retries=True),
    Client("langchain.py", ("langchain-openai==1.7.4",), retries=True),
    Client("llama_index_like.py", ("llama-index-llms-openai-like==0.8.1",), retries=True),
    Client("pydantic_ai_agent.py", ("pydantic-ai-slim[openai]==2.68.0",), retries=True),
    Client("instructor_chat.py", ("instructor==1.17.0",), retries=True),
    Client("llm_command.py", ("llm==0.36",)),
    Client("openai_node.mjs", ("openai@7.59.0",), retries=True),
    Client("vercel_ai.mjs", ("ai@7.0.173", "@ai-sdk/openai-compatible@3.0.92")),
)


@pytest.fixture(scope="module", params=CLIENTS, ids=str)
def client(request: pytest.FixtureRequest) -> tuple[Client, list[str]]:
    """A client that is installed, and how to call a program of it."""
    wanted: Client = request.param
    folder = install(str(wanted), *wanted.packages, is_node=wanted.is_node)
    if not wanted.is_node:
        return wanted, [str(folder / "bin" / "python"), str(PROGRAMS / wanted.program)]
    for program in (wanted.program, "told.mjs"):  # modules are looked for from where the program lies
        (folder / program).write_text((PROGRAMS / program).read_text())
    return wanted, [str(folder / "bin" / "node"), str(folder / wanted.program)]


@pytest.fixture
def ask(client, server, alice, key_of, engine, tmp_path):
    """Call it with what the program shall do; what came of it."""
    known = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "LLM_USER_PATH": str(tmp_path)}
    told = {"TALLY_V1": f"{server.url}/v1", "TALLY_KEY": key_of(alice), "TALLY_MODEL": DEMO_KEY}

    def run(what: str) -> dict[str, str]:
        done = subprocess.run(
            [*client[1], what], env=known | told, capture_output=True, text=True, timeout=120, check=False
        )
        lines = done.stdout.strip().splitlines()
        assert lines, done.stderr[-3000:]
        found: dict[str, str] = json.loads(lines[-1])
        return found

    return run


@pytest.mark.parametrize("what", ["plain", "streamed"])
def test_an_answer_is_whole_and_charged_once(ask, what, paid, faults):
    assert ask(what) == {"text": TEXT}
    generation = Generation.objects.get()
    assert generation.state == GenerationState.COMPLETED
    assert paid() == (price(generation), 0)
    assert faults() == []


def test_an_error_says_what_is_wrong_and_costs_nothing(ask, paid, faults):
    told = ask("wrong")["error"]
    assert "There is no model" in told
    assert Generation.objects.count() == 0
    assert paid() == (0, 0)
    assert faults() == []


def test_a_client_that_gives_up_and_asks_again_is_charged_once(client, ask, engine, paid, faults):
    if not client[0].retries:
        pytest.skip("this client has no time-out after which it asks again")
    engine.step_seconds = 0.4  # six tokens take three times as long as the client waits
    assert ask("patient") == {"text": TEXT}
    # One that was left before it was begun is ended, or given back, a few seconds later.
    generation = Generation.objects.filter(state=GenerationState.COMPLETED).latest("created_at")
    wait_until(lambda: paid() == (price(generation), 0), 20, "to be charged once")
    assert faults() == []
