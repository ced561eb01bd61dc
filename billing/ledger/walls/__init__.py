"""The walls of the ledger: the rules that the database itself enforces, one function or trigger in each `.sql` file.

Each file may be run again: it replaces the existing definition. A migration runs the files (`read`). A change of a file
needs a new migration that runs it again. `tests/billing/ledger/test_walls.py` compares the database with the files.

The functions that move money (`entry_move`, `hold_move`, `grant_use_move`, `debt_pay`) run after the row is written,
with the rights of the owner of the tables (docs/adr/0028). Every function has a fixed search path, so its caller cannot
change which tables it uses.
"""

from pathlib import Path

FOLDER = Path(__file__).parent


def read(*names: str) -> str:
    """Return the statements of these files, in this order."""
    return "\n".join((FOLDER / f"{name}.sql").read_text() for name in names)
