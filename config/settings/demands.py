"""What is missing or wrong among the settings, gathered while they are read and said in one list.

Each settings module notes what it finds (`wrong`, `required`) and goes on with something harmless. The module that a
process was started with calls `refuse` at its end, which raises for all of it together.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured

LEAST_SECRET_CHARACTERS = 50  # as `manage.py check --deploy` wants SECRET_KEY
LEAST_DIFFERENT_CHARACTERS = 10
HOW_TO_MAKE_ONE = "`openssl rand -base64 48` prints a new one"
SENDS_NOTHING = ("console", "dummy", "locmem", "filebased")  # Django's backends that send no mail

_findings: list[str] = []


def wrong(finding: str) -> None:
    """Note what is wrong: a sentence that begins with the setting's name."""
    if finding not in _findings:
        _findings.append(finding)


def required(name: str, what: str, instead: str) -> None:
    """Note it where the environment has neither this variable nor one that names a file with its value (`<name>_FILE`).

    An empty file has none. The settings are then read on with `instead`, which leads nowhere.
    """
    file = os.environ.get(f"{name}_FILE")
    if file and _is_empty(Path(file)):
        wrong(f"{name} is missing, the file {file} is empty: {what}.")
        del os.environ[f"{name}_FILE"]
        os.environ[name] = instead
    elif not file and not os.environ.get(name):
        wrong(f"{name} is missing: {what}.")
        os.environ[name] = instead


def _is_empty(file: Path) -> bool:
    """A file that cannot be read is not empty: the settings say why when they read it."""
    try:
        return not file.read_text().strip()
    except OSError:
        return False


def demand_said(name: str, what: str) -> None:
    """Note it where the environment does not say anything, not even that this variable is empty."""
    if name not in os.environ and f"{name}_FILE" not in os.environ:
        wrong(f"{name} is missing: {what}.")


def refuse() -> None:
    """Raise ImproperlyConfigured with everything that was noted, one finding a line; nothing where nothing was.

    Django may read the settings a second time after that: they are refused again.
    """
    if _findings:
        lines = "\n".join(f"- {finding}" for finding in _findings)
        raise ImproperlyConfigured(f"Tally does not start with these settings:\n{lines}\nSee .env.example.")


def demand_strong_secrets(secrets: Mapping[str, str]) -> None:
    """Note which secrets, by the names of their settings, are missing, short, easily guessed, or used twice."""
    seen: dict[str, str] = {}
    for name, value in secrets.items():
        if not value:
            wrong(f"{name} is missing: a long random text; {HOW_TO_MAKE_ONE}.")
        elif len(value) < LEAST_SECRET_CHARACTERS or len(set(value)) < LEAST_DIFFERENT_CHARACTERS:
            wrong(f"{name} is weak: at least {LEAST_SECRET_CHARACTERS} random characters; {HOW_TO_MAKE_ONE}.")
        elif value.startswith(("django-insecure-", "for tests only")):
            wrong(f"{name} is one of development; {HOW_TO_MAKE_ONE}.")
        elif value in seen:
            wrong(f"{name} is the same as {seen[value]}: each secret has a value of its own; {HOW_TO_MAKE_ONE}.")
        seen.setdefault(value, name)


def demand_closed_redis(urls: Mapping[str, str]) -> None:
    """Note which URLs of Redis, by the names of their settings, log in without a password."""
    for name, url in urls.items():
        if not urlsplit(url).password:
            wrong(f"{name} has no password: Redis must not be open to whoever reaches it (docs/redis-users.md).")


def demand_safe_site(settings: Mapping[str, Any]) -> None:
    """Note what is wrong with the site's address, its host names and its mail."""
    if not settings["PUBLIC_URL"].startswith("https://"):
        wrong("PUBLIC_URL must begin with https://: log-ins and payments travel over it.")
    if not settings["ALLOWED_HOSTS"] or {"*", "."} & set(settings["ALLOWED_HOSTS"]):
        wrong("ALLOWED_HOSTS must name the hosts of this site: with * a stranger decides where mailed links lead.")
    if any(name in settings["DELIVERY_EMAIL_BACKEND"] for name in SENDS_NOTHING):
        wrong("EMAIL_URL must name a mail server (smtp+tls://user:password@host:587): this one sends nothing.")
    if settings["SECRET_KEY_FALLBACKS"] and not settings["MAILBOX_SECRET"]:
        wrong("MAILBOX_SECRET must be set before SECRET_KEY is replaced, to the SECRET_KEY of until then.")
