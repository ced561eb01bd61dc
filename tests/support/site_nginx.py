"""Debian's nginx with the files of deploy/nginx, as they stand in front of a deployed Tally."""

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from string import Template
from types import MappingProxyType

from tests.support.nginx import PROGRAM, free_port, is_open
from tests.support.stack import ROOT, wait_until

FILES = ROOT / "deploy" / "nginx"
DOMAIN = "localhost"
# Where a test's nginx keeps what it cannot hold in memory; without these lines, it would be in the system's folders.
OWN_FOLDERS = """
    client_body_temp_path {directory}/bodies;
    proxy_temp_path {directory}/answers;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    include {directory}/conf.d/*.conf;
"""


@dataclass
class SiteNginx:
    """A running nginx. What belongs to it is in `directory`: logs, certificates, static files, challenges."""

    directory: Path
    http_port: int
    https_port: int
    process: "subprocess.Popen[bytes]"

    @property
    def url(self) -> str:
        """Where the site is."""
        return f"https://{DOMAIN}:{self.https_port}"

    @property
    def plain_url(self) -> str:
        """The same without TLS."""
        return f"http://{DOMAIN}:{self.http_port}"

    @property
    def certificate(self) -> Path:
        """What a client must trust."""
        return self.directory / "certificates" / "fullchain.pem"

    def curl(self, path: str, *options: str) -> str:
        """Ask for a path, or for a whole address, with Debian's curl. Return what it printed."""
        address = path if path.startswith("http") else self.url + path
        here = [f"{DOMAIN}:{port}:127.0.0.1" for port in (self.http_port, self.https_port)]
        resolve = [part for entry in here for part in ("--resolve", entry)]
        command = ["curl", "--silent", "--max-time", "60", "--cacert", str(self.certificate), *resolve, *options]
        return subprocess.run([*command, address], capture_output=True, text=True, check=False).stdout

    def reload(self) -> None:
        """`nginx -s reload`: new processes read the files anew, and the old ones finish what they have begun."""
        self.process.send_signal(signal.SIGHUP)

    def log(self) -> str:
        """The access log."""
        return (self.directory / "access.log").read_text()


@contextmanager
def site_nginx(
    directory: Path,
    web: str,
    *,
    flower: str = "127.0.0.1:1",
    operators: str = "",
    more: str = "",
    resolver: str = "127.0.0.1",
    changes: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[SiteNginx]:
    """Run nginx before the application at `web` (host:port).

    `operators` are lines in place of those of the file, `more` is in a file beside tally.conf, and `changes` are words
    of tally.conf and what stands there instead. `resolver` is the name server, if `web` is a name.
    """
    ports = free_port(), free_port()
    write_files(directory, ports, changes, {"TALLY_WEB": web, "TALLY_FLOWER": flower, "TALLY_RESOLVER": resolver})
    (directory / "operators.conf").write_text(operators or (FILES / "operators.conf").read_text())
    (directory / "conf.d" / "more.conf").write_text(more)
    command: list[str | Path] = [PROGRAM, "-c", directory / "nginx.conf", "-e", directory / "error.log"]
    checked = subprocess.run([*command, "-t"], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
    assert "[warn]" not in checked.stderr
    process = subprocess.Popen([*command, "-g", "daemon off;"])
    try:
        for port in ports:
            wait_until(lambda port=port: is_open(port), 10, "nginx to listen")
        yield SiteNginx(directory, *ports, process)
    finally:
        process.terminate()
        process.wait(timeout=10)


def write_files(
    directory: Path, ports: tuple[int, int], changes: Mapping[str, str], servers: Mapping[str, object]
) -> None:
    """Write all that nginx reads into `directory`. `servers` are values of the variables that name them."""
    for name in ("conf.d", "static", "acme/.well-known/acme-challenge"):
        (directory / name).mkdir(parents=True)
    shutil.copytree(FILES / "pages", directory / "pages")
    subprocess.run([FILES / "self_signed.sh", DOMAIN, directory / "certificates"], check=True, capture_output=True)
    values = {
        "TALLY_DOMAIN": DOMAIN,
        **servers,
        "TALLY_HTTP_PORT": ports[0],
        "TALLY_HTTPS_PORT": ports[1],
        "TALLY_CERTIFICATES": directory / "certificates",
        "TALLY_ACME": directory / "acme",
        "TALLY_STATIC": directory / "static",
        "TALLY_PAGES": directory / "pages",
        "TALLY_OPERATORS": directory / "operators.conf",
    }
    text = _with_values((FILES / "templates" / "tally.conf.template").read_text(), values)
    text = text.replace("/var/log/nginx/access.log", f"{directory}/access.log")
    text = re.sub(r"listen (\d+)", r"listen 127.0.0.1:\1", text)
    for before, after in changes.items():
        assert before in text
        text = text.replace(before, after)
    (directory / "conf.d" / "tally.conf").write_text(text)
    main = (FILES / "nginx.conf").read_text()
    main = main.replace("    include /etc/nginx/conf.d/*.conf;", OWN_FOLDERS.format(directory=directory))
    user = "user root;" if os.geteuid() == 0 else ""  # pytest's folders are closed to others
    (directory / "nginx.conf").write_text(f"pid {directory}/pid;\n{user}\n{main}")


def _with_values(text: str, values: dict[str, object]) -> str:
    """What the image's `envsubst` does: `${TALLY_...}` is replaced, and nginx's own variables stay."""
    assert set(re.findall(r"\$\{(\w+)\}", text)) == set(values)
    return Template(text).safe_substitute({name: str(value) for name, value in values.items()})
