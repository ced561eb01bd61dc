"""Debian's PgBouncer in transaction mode before a PostgreSQL server of the tests."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg

from deploy.local.processes import free_port
from tests.support.stack import wait_until

PROGRAM = shutil.which("pgbouncer") or "/usr/sbin/pgbouncer"
IS_HERE = Path(PROGRAM).exists()
CONFIGURATION = """
[databases]
* = host={server.hostname} port={server.port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {directory}/users.txt
admin_users = {server.username}
pool_mode = transaction
default_pool_size = {connections}
max_client_conn = 500
"""


@contextmanager
def pgbouncer_before(url: str, directory: Path, connections: int) -> Iterator[str]:
    """Yield the address of `url`'s database behind PgBouncer, which opens at most so many connections to it."""
    server, port = urlsplit(url), free_port(0)
    file = directory / "pgbouncer.ini"
    file.write_text(CONFIGURATION.format(server=server, port=port, directory=directory, connections=connections))
    (directory / "users.txt").write_text(f'"{server.username}" "{server.password}"\n')
    command = [PROGRAM, "-q", str(file)]
    if os.geteuid() == 0:  # PgBouncer refuses to run as root
        for path in (directory, *directory.iterdir()):
            shutil.chown(path, "nobody")
        command[1:1] = ["-u", "nobody"]
    process = subprocess.Popen(command, cwd="/")
    behind = urlunsplit(server._replace(netloc=f"{server.username}:{server.password}@127.0.0.1:{port}"))
    try:
        wait_until(lambda: _answers(behind), 10, "PgBouncer to answer")
        yield behind
    finally:
        process.terminate()
        process.wait(timeout=10)


def _answers(url: str) -> bool:
    try:
        psycopg.connect(url, connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True
