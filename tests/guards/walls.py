"""The walls of the ledger: what the database does and refuses, whatever statement comes."""

from tests.guards.guard import Guard

SQL = "tests/billing/ledger/test_bypass_sql.py"
WALLS = "tests/billing/ledger/test_walls.py"
VERIFY = "tests/billing/ledger/verification/test_verify_ledger.py"
ROLES = "tests/billing/ledger/test_bypass_roles.py"
ORIGINS = "tests/billing/ledger/verification/test_origins.py"
START = "tests/core/postgresql/test_roles.py"


def moved_too_early(defect: str, wall: str, table: str, select: str) -> Guard:
    """A function that moves money before the row is there."""
    rights = f"REVOKE ALL ON FUNCTION billing_{wall}() FROM PUBLIC;  -- or a trigger of another table could call it"
    late = f"    RETURN NULL;\nEND $$;\n{rights}\nDROP TRIGGER IF EXISTS billing_{wall} ON {table};\n"
    late += f"CREATE TRIGGER billing_{wall} AFTER"
    early = late.replace("RETURN NULL", "RETURN NEW").replace(" AFTER", " BEFORE")
    return Guard(defect, f"billing/ledger/walls/{wall}.sql", late, early, SQL, select)


def unasked(
    defect: str, text: str, select: str, file: str = "billing/ledger/verification/origins.py", without: str = "FALSE"
) -> Guard:
    """A part of the proof that is not asked any more."""
    return Guard(defect, file, text, without, ORIGINS, select)


INFERENCE = "inference/generations/ledger_checks.py"
OF_WALLS = [
    unasked(
        "a top-up without an order", "(e.kind = 'top_up' OR e.idempotency_key LIKE 'topup%:%')", "a_top_up_without"
    ),
    unasked(
        "an order credited to another",
        "t.user_id = w.user_id AND t.state = 'paid'",
        "to_another_wallet",
        without="TRUE",
    ),
    unasked("a chargeback without an order", "e.kind = 'chargeback' AND t.id IS NULL", "a_chargeback_that_gives"),
    unasked("a promotion without a redemption", "e.kind = 'promotion' AND r.id IS NULL", "a_promotion_without"),
    unasked(
        "an adjustment without a request",
        "NOT EXISTS (SELECT FROM accounts_auditevent v\n                WHERE v.subject_id",
        "that_nobody_asked_for",
        without="EXISTS (SELECT FROM accounts_auditevent v\n                WHERE FALSE AND v.subject_id",
    ),
    unasked("a refund without a request", "e.kind = 'refund' AND r.id IS NULL", "a_refund_without_a_request"),
    unasked(
        "an unknown kind of entry", "{new entries} AND e.kind NOT IN", "unknown_kind", without="FALSE AND e.kind NOT IN"
    ),
    unasked(
        "deleted audit events", "{where} AND NOT EXISTS (", "deleted_audit_events", without="FALSE AND NOT EXISTS ("
    ),
    unasked(
        "a price that was never in effect",
        "{new holds} AND NOT h.is_from_cache AND NOT EXISTS (",
        "a_price_that_was_not_in_effect",
        "billing/ledger/verification/checks.py",
        "FALSE AND NOT EXISTS (",
    ),
    unasked("a charge for no answer", "AND (g.id IS NULL\n", "a_charge_for_no_answer", INFERENCE, "AND (FALSE\n"),
    unasked(
        "a stopped answer for nothing",
        "g.state IN ('completed', 'stopped')",
        "a_stopped_answer_whose",
        INFERENCE,
        "g.state = 'completed'",
    ),
    unasked(
        "a running answer without a hold",
        "<> (h.state = 'active')\n",
        "a_running_answer_whose",
        INFERENCE,
        "<> (h.state = 'active') AND h.state <> 'expired'\n",
    ),
    unasked(
        "a refund by nobody",
        "AND e.created_by_id IS NULL AND g.id IS NULL",
        "a_refund_by_nobody",
        INFERENCE,
        "AND FALSE",
    ),
    *(
        Guard(defect, file, text, without, "tests/billing/ledger/verification/test_proofs.py", select)
        for defect, file, text, without, select in (
            (
                "a fault that is told once",
                "billing/ledger/verification/proofs.py",
                "Proof.objects.filter(faults_count=0)",
                "Proof.objects.all()",
                "a_fault_is_told_every_hour",
            ),
            (
                "an entry that is never proven",
                "billing/ledger/verification/proofs.py",
                "created_at__lt=now - SETTLING",
                "created_at__lt=now",
                "an_entry_that_was_under_way",
            ),
            (
                "a chain without the one before",
                "billing/ledger/walls/entry_hash.sql",
                "ROW(encode(previous, 'hex'), e.wallet_id",
                "ROW(e.wallet_id",
                "taken_out_breaks_the_chain",
            ),
            (
                "a hash of one's own",
                "billing/ledger/walls/entry_balance_after.sql",
                "    NEW.chain_hash := billing_entry_hash(previous, NEW);\n",
                "    NEW.chain_hash := COALESCE(NEW.chain_hash, billing_entry_hash(previous, NEW));\n",
                "does_not_choose_its_hash",
            ),
            (
                "entries that were cut off",
                "billing/ledger/verification/proofs.py",
                "if hash_heads(night.last_entry) != night.heads_hash:",
                "if False:",
                "cut_off_with_all_in_order",
            ),
            (
                "two proofs at once",
                "billing/ledger/verification/proofs.py",
                'cursor.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK])',
                'cursor.execute("SELECT %s", [LOCK])',
                "proofs_at_once",
            ),
            (
                "a balance that does not follow",
                "billing/ledger/verification/checks.py",
                "(AT_NIGHT if window is None else SINCE_LAST)",
                "(AT_NIGHT if window is None else {})",
                "what_was_forged_since",
            ),
        )
    ),
    Guard(
        "an answer that is summed and read again",
        "billing/reporting/usage.py",
        "pk__gt=last_entry)",
        "pk__gt=0)",
        "tests/billing/reporting/test_usage.py",
        "counted_once",
    ),
    Guard(
        "a day's sum that nobody proves",
        "billing/ledger/verification/checks.py",
        "IS DISTINCT FROM (used.answers, used.charged)",
        "IS DISTINCT FROM (used.answers, used.charged) AND FALSE",
        "tests/billing/reporting/test_usage.py",
        "the_proof_names_a_day",
    ),
    Guard(
        "an entry of any kind",
        "billing/migrations/0030_entries_have_origins.py",
        "condition=Q(kind__in=KINDS)",
        "condition=~Q(kind='x')",
        ORIGINS,
        "refuses_an_unknown_kind",
    ),
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
        "billing/ledger/walls/entry_balance_after.sql",
        "ORDER BY e.id DESC LIMIT 1;",
        "ORDER BY e.id LIMIT 1;",
        SQL,
        "several_entries_of_one_statement or entries_that_are_ignored_leave",
    ),
    Guard(
        "entries out of order",
        "billing/ledger/walls/entry_balance_after.sql",
        "    NEW.id := nextval('billing_ledgerentry_id_seq');\n",
        "",
        SQL,
        "an_entry_takes_the_next_number",
    ),
    Guard(
        "built upon a wrong balance",
        "billing/ledger/walls/entry_move.sql",
        "IF balance <> NEW.balance_after_microcredits THEN",
        "IF FALSE THEN",
        VERIFY,
        "nothing_is_built_upon_a_balance",
    ),
    Guard(
        "a charge that frees nothing",
        "billing/ledger/walls/entry_move.sql",
        "            held_microcredits = held_microcredits - freed\n",
        "            held_microcredits = held_microcredits\n",
        "tests/billing/ledger/test_ledger.py",
        "charges_tokens_times_prices_and_frees_the_rest",
    ),
    Guard(
        "freed without a charge",
        "billing/ledger/walls/hold_move.sql",
        "NEW.state NOT IN ('active', 'settled')",
        "NEW.state NOT IN ('active')",
        SQL,
        "closed_as_charged_without_its_entry",
    ),
    Guard(
        "added to a finished entry",
        "billing/ledger/walls/grant_use_covered.sql",
        "        + (SELECT SUM(amount_microcredits) FROM billing_grantuse WHERE entry_id = NEW.entry_id) THEN",
        " AND FALSE THEN",
        "tests/billing/ledger/test_bypass.py",
        "added_to_a_finished_entry",
    ),
    Guard(
        "names looked for elsewhere",
        "billing/ledger/walls/entry_move.sql",
        "    SET search_path = pg_catalog, public, pg_temp AS $$",
        "    AS $$",
        WALLS,
        "every_wall_looks_for_names",
    ),
    Guard(
        "a trigger of another table",
        "billing/ledger/walls/entry_move.sql",
        "REVOKE ALL ON FUNCTION billing_entry_move() FROM PUBLIC;",
        "",
        WALLS,
        "nobody_else_may_call_them",
    ),
    Guard(
        "a trigger of one's own",
        "billing/ledger/walls/wallet_guard.sql",
        "\n             OR NOT has_table_privilege(TG_RELID, 'TRUNCATE')) THEN",
        ") THEN",
        ROLES,
        "a_trigger_of_its_own_sets_no_balance",
    ),
    Guard(
        "a balance named in an update",
        "billing/ledger/walls/privileges.py",
        """return f"SELECT, INSERT, UPDATE ({columns})" if columns else "SELECT, INSERT\"""",
        """return "SELECT, INSERT, UPDATE\"""",
        ROLES,
        "it_may_not_name_an_amount",
    ),
    Guard(
        "temporary tables",
        "billing/ledger/walls/privileges.py",
        """    yield f"REVOKE TEMPORARY ON DATABASE {database} FROM PUBLIC"\n""",
        "",
        ROLES,
        "it_may_not_make_temporary_tables",
    ),
    Guard(
        "a temporary table in front of ours",
        "billing/ledger/walls/grant_use_covered.sql",
        "    SET search_path = pg_catalog, public, pg_temp AS $$",
        "    AS $$",
        f"{WALLS} {ROLES}",
        "every_wall_looks_for_names",
    ),
    Guard(
        "money deleted",
        "billing/ledger/walls/privileges.py",
        "    if kept is None:\n",
        "    if kept is None or not kept.MAY_CHANGE:\n",
        ROLES,
        "it_may_not_alter_empty_or_take_over",
    ),
    Guard(
        "the application as the owner",
        "core/postgresql/roles.py",
        "    if might:\n",
        "    if False:\n",
        START,
        "the_owner_is_refused_and_told_why",
    ),
    Guard(
        "the application as the owner",
        "config/settings/production.py",
        "DEMAND_RESTRICTED_ROLE = True",
        "DEMAND_RESTRICTED_ROLE = False",
        START,
        "no_process_of_production_starts_as_the_owner",
    ),
]
