"""Commands where Tally is not running."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_a_command_says_that_tally_is_not_running_and_what_to_do(tmp_path):
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG")}
    command = [sys.executable, "manage.py", "verify_ledger"]
    environment = kept | {"TALLY_LOCAL_DIR": str(tmp_path)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("manage.py: Tally is not running here. Start it with `python3 startup.py`")
    assert "Traceback" not in done.stderr
