"""The walls of the ledger: what the database does and refuses, whatever statement comes."""

from tests.guards.guard import Guard

SQL = "tests/billing/test_bypass_sql.py"
WALLS = "tests/billing/test_walls.py"
VERIFY = "tests/billing/test_verify_ledger.py"


def moved_too_early(defect: str, wall: str, table: str, select: str) -> Guard:
    """A function that moves money before the row is there."""
    rights = f"REVOKE ALL ON FUNCTION billing_{wall}() FROM PUBLIC;  -- or a trigger of another table could call it"
    late = f"    RETURN NULL;\nEND $$;\n{rights}\nDROP TRIGGER IF EXISTS billing_{wall} ON {table};\n"
    late += f"CREATE TRIGGER billing_{wall} AFTER"
    early = late.replace("RETURN NULL", "RETURN NEW").replace(" AFTER", " BEFORE")
    return Guard(defect, f"billing/walls/{wall}.sql", late, early, SQL, select)


OF_WALLS = [
    moved_too_early(
        "money without an entry", "entry_move", "billing_ledgerentry", "an_entry_with_a_taken_key_that_is_ignored"
    ),
    moved_too_early(
        "held without a hold", "hold_move", "billing_hold", "a_hold_with_a_taken_reference_that_is_ignored"
    ),
    moved_too_early("used without a use", "grant_use_move", "billing_grantuse", "a_use_that_is_ignored"),
    moved_too_early("paid without a payment", "debt_pay", "billing_debtpayment", "a_payment_that_is_ignored"),
    Guard(
        "entries of one statement",
        "billing/walls/entry_balance_after.sql",
        "ORDER BY e.id DESC LIMIT 1), 0);",
        "ORDER BY e.id LIMIT 1), 0);",
        SQL,
        "several_entries_of_one_statement or entries_that_are_ignored_leave",
    ),
    Guard(
        "entries out of order",
        "billing/walls/entry_balance_after.sql",
        "    NEW.id := nextval('billing_ledgerentry_id_seq');\n",
        "",
        SQL,
        "an_entry_takes_the_next_number",
    ),
    Guard(
        "built upon a wrong balance",
        "billing/walls/entry_move.sql",
        "IF balance <> NEW.balance_after_microcredits THEN",
        "IF FALSE THEN",
        VERIFY,
        "nothing_is_built_upon_a_balance",
    ),
    Guard(
        "names looked for elsewhere",
        "billing/walls/entry_move.sql",
        "    SET search_path = pg_catalog, public, pg_temp AS $$",
        "    AS $$",
        WALLS,
        "every_wall_looks_for_names",
    ),
    Guard(
        "a trigger of another table",
        "billing/walls/entry_move.sql",
        "REVOKE ALL ON FUNCTION billing_entry_move() FROM PUBLIC;",
        "",
        WALLS,
        "nobody_else_may_call_them",
    ),
]
