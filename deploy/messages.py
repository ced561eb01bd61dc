"""Brings the German catalogue up to date with the strings that are marked for translation.

    python3 -m deploy.messages          after a string was added or changed, and after a merge

It reads every marked string of the templates and of the code with `makemessages` (which wants Debian's package
`gettext`), writes locale/de/LC_MESSAGES/django.po, sorted and without line numbers so that it merges well, and compiles
django.mo beside it. What has no German yet is printed: write it into the .po and call this again. It guesses nothing: a
string that changed loses its translation.
"""

import io
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

from babel.messages import Catalog, Message
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ("accounts", "backoffice", "billing", "chat", "config", "core", "inference", "monitoring", "templates")
CATALOGUE = Path("locale/de/LC_MESSAGES/django.po")
UNCHANGING = datetime(2026, 1, 1, tzinfo=UTC)  # the same strings make the same files
HEADER = r"""msgid ""
msgstr ""
"Project-Id-Version: Tally\n"
"Language: de\n"
"MIME-Version: 1.0\n"
"Content-Type: text/plain; charset=UTF-8\n"
"Content-Transfer-Encoding: 8bit\n"
"Plural-Forms: nplurals=2; plural=(n != 1);\n"

"""


def complete(root: Path) -> list[str]:
    """Write both files anew out of the sources below `root`. Returns the strings that have no German."""
    file = root / CATALOGUE
    if not file.exists():
        file.parent.mkdir(parents=True)
        file.write_text(HEADER)
    _extract(root)
    catalogue = _read(file)
    po = io.BytesIO()
    write_po(po, catalogue, width=0, no_location=True, omit_header=True, sort_output=True, ignore_obsolete=True)
    file.write_text(HEADER + po.getvalue().decode().strip() + "\n")
    with file.with_suffix(".mo").open("wb") as mo:
        write_mo(mo, catalogue)
    return [_name(message) for message in catalogue if message.id and not _is_translated(message)]


def _extract(root: Path) -> None:
    """Let Django's `makemessages` add new strings to the catalogue, and drop those that are gone."""
    others = [entry.name for entry in root.iterdir() if entry.name not in SOURCES]
    ignored = [word for name in others for word in ("--ignore", name)]
    django = [sys.executable, "-m", "django", "makemessages", "--verbosity", "0", "--locale", "de"]
    form = ["--no-location", "--no-obsolete", "--no-wrap"]
    environment = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    subprocess.run([*django, *form, *ignored], cwd=root, env=environment, check=True)


def _read(file: Path) -> Catalog:
    """Read the catalogue, without what `makemessages` guessed from strings that look alike."""
    with file.open("rb") as po:
        catalogue = read_po(po, locale="de")
    catalogue.creation_date = catalogue.revision_date = UNCHANGING
    for message in catalogue:
        if message.id and message.fuzzy:
            message.flags.discard("fuzzy")
            message.string = ("", "") if isinstance(message.id, tuple) else ""
        message.previous_id = []
    return catalogue


def _is_translated(message: Message) -> bool:
    strings = message.string if isinstance(message.string, (tuple, list)) else [message.string]
    return bool(strings) and all(strings)


def _name(message: Message) -> str:
    return str(message.id if isinstance(message.id, str) else message.id[0])


if __name__ == "__main__":
    missing = complete(ROOT)
    for text in missing:
        sys.stdout.write(f"no German yet: {text!r}\n")
    sys.exit(1 if missing else 0)
