"""The functions and triggers of chat in the database, one in each `.sql` file.

Each file may be run again: it replaces the existing definition. A migration runs the files (`read`). A change of a file
needs a new migration that runs it again; a change of `words` also one that writes all rows of `MessageWords` anew.
`tests/chat/test_search.py` compares the database with the files.
"""

from pathlib import Path

FOLDER = Path(__file__).parent


def read(*names: str) -> str:
    """Return the statements of these files, in this order."""
    return "\n".join((FOLDER / f"{name}.sql").read_text() for name in names)
