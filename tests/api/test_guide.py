"""Every snippet of docs/api.md runs as it stands, against a running server."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from accounts.models import ApiKey
from billing.models import TopUp
from billing.topups.packages import seed_packages
from tests.support.cast import PASSWORD

GUIDE = (Path(__file__).parents[2] / "docs/api.md").read_text()
SNIPPETS = re.findall(r"^```(bash|python|javascript)\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)
PROGRAMS = {
    "bash": ["bash", "-euo", "pipefail", "-c"],
    "python": [sys.executable, "-c"],
    "javascript": ["node", "--input-type=module", "-e"],
}


@pytest.fixture
def run(alice, with_key, server, engine):
    """Call it with a snippet; returns what it printed."""
    seed_packages()
    known = {"BASE_URL": server.url, "TALLY_KEY": with_key(alice).text, "EMAIL": alice.email, "PASSWORD": PASSWORD}

    def run_snippet(language, code):
        if not shutil.which(PROGRAMS[language][0]) or ("jq " in code and not shutil.which("jq")):
            pytest.skip(f"no {language} with all it needs on this machine")
        done = subprocess.run(
            [*PROGRAMS[language], code],
            env=os.environ | known,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return run_snippet


def snippet(language, mark):
    """The one snippet of this language with this text."""
    [code] = [code for found, code in SNIPPETS if found == language and mark in code]
    return language, code


CHECKED = {
    ("bash", "/api/v1/keys"): '"balance_credits":"100.000000"',
    ("python", '"/wallet"'): "100.000000",
    ("javascript", "/api/v1/wallet"): "100.000000",
    ("python", "charged_credits"): "completed 0.00",
    ("python", "OpenAI("): "fox",
    ("python", "checkout_url"): "/credits/sandbox/",
    ("python", "is_from_cache"): "queued False",
    ("python", "tip_id"): "True\nTrue",
    ("python", "ledger-entries"): "100000000",
    ("bash", "If-None-Match"): "304",
    ("javascript", "amount_minor"): "400 invalid_request",
}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("which", CHECKED, ids=lambda which: f"{which[0]} {which[1]}")
def test_a_snippet_does_what_the_guide_says(run, which):
    assert CHECKED[which] in run(*snippet(*which))


@pytest.mark.django_db(transaction=True)
def test_the_snippets_leave_what_they_say(run):
    run(*snippet("python", "checkout_url"))
    assert TopUp.objects.get().amount_minor == 1250
    assert ApiKey.objects.count() == 1


def test_every_snippet_is_checked():
    assert len(SNIPPETS) == len({snippet(*which) for which in CHECKED}) == len(CHECKED)
