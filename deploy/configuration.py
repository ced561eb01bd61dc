"""Writes docs/configuration.md out of .env.example, which has a sentence for every setting.

    python3 -m deploy.configuration

tests/config/test_env_example.py compares the example with what the settings read, and the document with this.
"""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = ROOT / ".env.example"
DOCUMENT = ROOT / "docs" / "configuration.md"
LINE = re.compile(r"(?P<comment>#?)(?P<name>[A-Z][A-Z0-9_]*)=(?P<value>.*)")
HEAD = """# Configuration

Every setting is an environment variable. For each there is one more whose name ends in `_FILE`: it names a file that
holds the value, so that a secret need not stand in an environment (`SECRET_KEY_FILE=/run/secrets/secret_key`). What
must be set, and what is weak, is refused at the start, all of it in one list. `.env.example` has the same settings to
copy; this page is written from it by `python3 -m deploy.configuration`.

## Replace a key without logging anybody out

`SECRET_KEY` signs sessions, cookies and mailed links; `JWT_SIGNING_KEY` signs the tokens of the API. Each is replaced
in three steps, after each of which all processes are started again, one machine after the other:

1. Put the new key into `SECRET_KEY_FALLBACKS` (or `JWT_SIGNING_KEY_FALLBACKS`). Now every process believes both.
2. Make the new key `SECRET_KEY` (or `JWT_SIGNING_KEY`), and put the old one into the fallbacks. New signatures are of
   the new key.
3. After 14 days, which is as long as a refresh token and a session last, take the old key out of the fallbacks.

In the first step of the first replacement of `SECRET_KEY`, set `MAILBOX_SECRET` to its value of until then, and leave
it so: the hashes that say which mailboxes had the sign-up bonus are keyed with it. Tally refuses to start with
fallbacks and without it.

A stolen key is not put into the fallbacks, since the thief could go on signing. Then everybody logs in once more.
"""


def describe() -> str:
    """The document, as it should be."""
    return HEAD + "".join(_section(block) for block in EXAMPLE.read_text().split("\n\n")[1:])


def _section(block: str) -> str:
    """A heading, where the block has no setting; else a table of its settings."""
    rows: list[str] = []
    words: list[str] = []
    for line in block.splitlines():
        found = LINE.fullmatch(line)
        if found is None:
            words.append(line.removeprefix("#").strip())
            continue
        rows.append(f"| `{found['name']}` | {_default(found)} | {_cell(' '.join(words))} |")
        words = []
    if not rows:
        title, _dot, rest = " ".join(words).partition(". ")
        return f"\n## {title.rstrip('.')}\n" + (f"\n{rest}\n" if rest else "")
    return "\n| setting | default | what it is |\n| --- | --- | --- |\n" + "\n".join(rows) + "\n"


def _default(found: re.Match[str]) -> str:
    if not found["comment"]:
        return "must be set" if not found["value"] else f"must be set, such as `{found['value']}`"
    return f"`{found['value']}`" if found["value"] else "empty"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    DOCUMENT.write_text(describe())
