"""The walls of the ledger: what the database itself does and refuses, one function or trigger a `.sql` file.

Each file may be run again: it replaces what stands. A migration runs it (`read`); whoever changes a file adds a
migration that runs it again. `tests/billing/ledger/test_walls.py` compares the database with the files.

The functions that move money (`entry_move`, `hold_move`, `grant_use_move`, `debt_pay`) run after the row is there, with
the rights of the owner of the tables (docs/adr/0028). All look for names in the same fixed schemas, whoever calls them.
"""

from pathlib import Path

FOLDER = Path(__file__).parent


def read(*names: str) -> str:
    """The statements of these files, in this order."""
    return "\n".join((FOLDER / f"{name}.sql").read_text() for name in names)
