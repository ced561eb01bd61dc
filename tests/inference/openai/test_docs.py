"""Every example of docs/openai.md runs as it stands, against the live server."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from inference.models import Generation

pytestmark = pytest.mark.django_db(transaction=True)

PAGE = Path(__file__).resolve().parents[3] / "docs" / "openai.md"
RUNNERS = {
    "bash": ["bash", "-euo", "pipefail", "-c"],
    "python": [sys.executable, "-c"],
    "javascript": ["node", "--input-type=module", "-e"],
}
EXAMPLES = re.findall(r"```(bash|python|javascript)\n(.*?)```", PAGE.read_text(), re.DOTALL)


def test_the_page_has_examples_in_all_three_languages():
    assert {language for language, _code in EXAMPLES} == set(RUNNERS)
    assert len(EXAMPLES) >= 9


@pytest.mark.parametrize(("language", "code"), EXAMPLES)
def test_an_example_of_the_page_runs_as_it_stands(server, engine, alice, key_of, faults, language, code):
    command = RUNNERS[language]
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not on this machine")
    environment = os.environ | {"TALLY_URL": server.url, "TALLY_KEY": key_of(alice)}
    done = subprocess.run([*command, code], env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    if "gpt-99" in code:
        assert done.stdout == "model_not_found model\n"
        return
    assert "quick brown fox" in _text_of(done.stdout) or "first == again" in code
    assert Generation.objects.count() == (2 if "from_cache" in code else 1)
    assert set(Generation.objects.values_list("state", flat=True)) == {"completed"}
    assert faults() == []


def _text_of(printed: str) -> str:
    """What an example printed; of raw events, as curl prints them, the text that they carry, in however many pieces."""
    events = [json.loads(event) for event in re.findall(r"^data: ({.*})$", printed, re.MULTILINE)]
    pieces = [choice["delta"].get("content") or "" for event in events for choice in event["choices"]]
    return "".join(pieces) if events else printed
