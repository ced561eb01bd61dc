"""Debian's nginx before a server of the tests: once as it comes, and once so that it cuts what is silent for 5 s."""

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.stack import wait_until

PROGRAM = shutil.which("nginx") or "/usr/sbin/nginx"
IS_HERE = Path(PROGRAM).exists()
needs_nginx = pytest.mark.skipif(not IS_HERE, reason="there is no nginx on this machine (Debian's package nginx)")
CONFIGURATION = """
daemon off;
pid {directory}/pid;
error_log {directory}/error.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {directory}/bodies;
    proxy_temp_path {directory}/answers;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    server {{
        listen 127.0.0.1:{default};
        location / {{ proxy_pass {url}; }}
    }}
    server {{
        listen 127.0.0.1:{impatient};
        location / {{ proxy_pass {url}; proxy_read_timeout 5s; }}
    }}
}}
"""


@contextmanager
def nginx_before(url: str, directory: Path) -> Iterator[dict[str, str]]:
    """Yield the addresses of both, `default` and `impatient`."""
    ports = {"default": free_port(), "impatient": free_port()}
    file = directory / "nginx.conf"
    file.write_text(CONFIGURATION.format(directory=directory, url=url, **ports))
    process = subprocess.Popen([PROGRAM, "-c", file, "-e", directory / "error.log"])
    try:
        for port in ports.values():
            wait_until(lambda port=port: is_open(port), 10, "nginx to listen")
        yield {name: f"http://127.0.0.1:{port}" for name, port in ports.items()}
    finally:
        process.terminate()
        process.wait(timeout=10)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as door:
        return int(door.getsockname()[1])


def is_open(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        time.sleep(0.05)
        return False
    return True
