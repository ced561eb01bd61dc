"""Debian's Prometheus with the files of deploy/prometheus, as it stands beside a deployed Tally."""

import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.support.nginx import free_port
from tests.support.stack import ROOT, wait_until

PROGRAM = shutil.which("prometheus")
needs_prometheus = pytest.mark.skipif(
    PROGRAM is None or shutil.which("promtool") is None,
    reason="there is no Prometheus on this machine (Debian's package prometheus)",
)
FILES = ROOT / "deploy" / "prometheus"
TOKEN_FILE = "/run/secrets/metrics_token"


def write_files(directory: Path, changes: Mapping[str, str]) -> Path:
    """Write the rules and the configuration, in which these words are replaced, and return its path."""
    text = (FILES / "prometheus.yml").read_text()
    for before, after in changes.items():
        assert before in text, before
        text = text.replace(before, after)
    shutil.copy(FILES / "rules.yml", directory)
    (directory / "prometheus.yml").write_text(text)
    return directory / "prometheus.yml"


@contextmanager
def running(directory: Path, changes: Mapping[str, str]) -> Iterator[httpx.Client]:
    """A Prometheus that scrapes as the file says, with these changes. Yields a client of its API."""
    port = free_port()
    command = [PROGRAM or "", f"--config.file={write_files(directory, changes)}"]
    command += [f"--storage.tsdb.path={directory / 'data'}", f"--web.listen-address=127.0.0.1:{port}"]
    with (directory / "prometheus.log").open("w") as log, subprocess.Popen(command, stderr=log, stdout=log) as process:
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20) as client:
                wait_until(lambda: _is_ready(client), 30, "Prometheus to be ready")
                yield client
        finally:
            process.terminate()
            process.wait(30)


def _is_ready(client: httpx.Client) -> bool:
    try:
        return client.get("/-/ready").status_code == 200
    except httpx.TransportError:
        return False
