"""Credits that are held, charged, expired: what must not be spent, minted or lost."""

from tests.guards.guard import Guard

LEDGER = "tests/billing/ledger/test_ledger.py"
HOT_PATH = "tests/billing/ledger/test_hot_path.py"
BYPASS = "tests/billing/ledger/test_bypass.py"
ROLES = "tests/billing/ledger/test_bypass_roles.py"
GRANTS = "tests/billing/ledger/test_grants.py"
TOPUPS = "tests/billing/topups/test_topups.py"
ANSWERS = "tests/inference/generations/test_generation.py tests/inference/generations/test_requests.py"

SPENDING = [
    # Check-then-spend overdraft.
    Guard(
        "overdraft",
        "billing/ledger/walls/place_hold.sql",
        "WHERE user_id = p_user FOR UPDATE;",
        "WHERE user_id = p_user;",
        BYPASS,
        "looks_at_the_balance_once_it_has_the_wallet",
    ),
    Guard(
        "overdraft",
        "billing/migrations/0001_initial.py",
        "models.Q(('held_microcredits__gte', 0), ('held_microcredits__lte', models.F('balance_microcredits')))",
        "models.Q(('held_microcredits__gte', 0))",
        BYPASS,
        "an_entry_cannot_overdraw or an_entry_cannot_take_what_is_held",
    ),
    Guard(
        "overdraft",
        "billing/ledger/entries.py",
        "if hold is None and -amount_microcredits > available:",
        "if False:",
        GRANTS,
        "an_adjustment_down_leaves_what_is_held",
    ),
    # What is written past the ledger.
    Guard(
        "balance written directly",
        "billing/ledger/walls/wallet_guard.sql",
        "AND (pg_trigger_depth() < 2\n             OR ",
        "AND (FALSE AND ",
        ROLES,
        "the_owner_is_refused_too",
    ),
    Guard(
        "wallet born rich",
        "billing/ledger/walls/wallet_guard.sql",
        "IF NEW.balance_microcredits <> 0 OR NEW.held_microcredits <> 0 THEN",
        "IF FALSE THEN",
        BYPASS,
        "a_wallet_cannot_be_born_rich",
    ),
    Guard(
        "entry rewritten",
        "billing/ledger/walls/entry_keep.sql",
        "BEFORE UPDATE OR DELETE ON billing_ledgerentry\n    FOR EACH ROW",
        "BEFORE UPDATE OR DELETE ON billing_ledgerentry\n    FOR EACH ROW WHEN (FALSE)",
        ROLES,
        "the_owner_is_refused_too",
    ),
    # "Trusted" users who skip the hold.
    Guard(
        "trusted user",
        "billing/ledger/holds.py",
        "if not _fit(draft, most_tokens, room_of_caps):",
        "if not user.is_superuser and not _fit(draft, most_tokens, room_of_caps):",
        ANSWERS,
        "nobody_is_trusted",
    ),
    # A hold leaked on error or panic.
    Guard(
        "leaked hold",
        "inference/generations/endings.py",
        "        ledger.release(hold_id=generation.hold_id)\n        _tell(generation)",
        "        _tell(generation)",
        ANSWERS,
        "a_failing_engine_costs_nothing",
    ),
    Guard(
        "leaked hold",
        "inference/generations/endings.py",
        "Generation.objects.silent()",
        "Generation.objects.none()",
        ANSWERS,
        "the_sweeper_ends_an_answer_whose_worker_went_silent",
    ),
    Guard(
        "leaked hold",
        "billing/ledger/holds.py",
        "filter(state=HoldState.ACTIVE, expires_at__lt=Now())",
        "none()",
        LEDGER,
        "a_forgotten_hold_expires",
    ),
    # An abort billed zero, in full, twice.
    Guard(
        "abort billed zero",
        "inference/generations/endings.py",
        "    ledger.settle_within(hold_id=generation.hold_id, completion_tokens=completion_tokens)",
        "    ledger.release(hold_id=generation.hold_id)",
        ANSWERS,
        "stop_costs_the_prompt_and_the_tokens_produced",
    ),
    Guard(
        "abort billed in full",
        "inference/generations/endings.py",
        "    ledger.settle_within(hold_id=generation.hold_id, completion_tokens=completion_tokens)",
        "    ledger.settle_within(hold_id=generation.hold_id, completion_tokens=generation.max_completion_tokens)",
        ANSWERS,
        "stop_costs_the_prompt_and_the_tokens_produced",
    ),
    Guard(
        "abort billed twice",
        "inference/generations/endings.py",
        "        GenerationState.RUNNING,\n        state=GenerationState.STOPPED",
        "        *GenerationState,\n        state=GenerationState.STOPPED",
        ANSWERS,
        "an_ended_answer_is_ended_no_second_time or a_worker_that_wakes_up_after_the_sweep",
    ),
    # An overrun floored at zero; a hold smaller than the worst case.
    Guard(
        "overrun",
        "billing/ledger/settlements.py",
        "if not 0 <= completion_tokens <= settled.max_completion_tokens:",
        "if False:",
        LEDGER,
        "settle_refuses_more_than_was_held",
    ),
    Guard(
        "overrun",
        "billing/ledger/walls/settle_hold.sql",
        "IF p_completion_tokens NOT BETWEEN 0 AND most_tokens THEN",
        "IF FALSE THEN",
        HOT_PATH,
        "a_count_outside_the_hold",
    ),
    Guard(
        "floored at zero",
        "billing/ledger/credits.py",
        "    owed = amount_microcredits - taken\n",
        "    owed = 0\n",
        TOPUPS,
        "a_chargeback_of_spent_credits_is_owed",
    ),
    Guard(
        "spending while owing",
        "billing/ledger/entries.py",
        "        pay_debts(wallet)\n        arm(wallet)",
        "        arm(wallet)",
        TOPUPS,
        "what_comes_in_pays_what_is_owed_first",
    ),
    Guard(
        "small hold",
        "billing/ledger/holds.py",
        "draft.amount_microcredits = draft.prompt_cost_microcredits + draft.max_completion_tokens * token_cost",
        "draft.amount_microcredits = draft.max_completion_tokens * token_cost",
        LEDGER,
        "hold_sets_the_worst_case_aside",
    ),
    # Usage counted twice.
    Guard(
        "usage twice",
        "billing/ledger/walls/settle_hold.sql",
        "WHERE h.id = p_hold AND h.state = 'active'",
        "WHERE h.id = p_hold",
        LEDGER,
        "settle_twice_charges_once",
    ),
    Guard(
        "usage twice",
        "billing/migrations/0001_initial.py",
        "models.UniqueConstraint(condition=models.Q(('kind', 'usage')), fields=('hold',), "
        "name='billing_entry_one_usage_a_hold')",
        "models.CheckConstraint(condition=models.Q(('id__isnull', False)), name='billing_entry_one_usage_a_hold')",
        BYPASS,
        "usage_cannot_be_charged_twice_for_one_hold",
    ),
    # A spend popped from a queue before it was committed: here the charge and the answer's end commit together.
    Guard(
        "spend popped",
        "inference/generations/endings.py",
        "@transaction.atomic\ndef settle_generation(",
        "def settle_generation(",
        ANSWERS,
        "an_end_that_cannot_be_written_charges_nothing",
    ),
    # A negative price or usage that mints credit.
    Guard(
        "minting",
        "billing/migrations/0001_initial.py",
        "models.Q(('completion_microcredits_per_token__gt', 0), ('prompt_microcredits_per_token__gt', 0)), "
        "name='billing_price_is_positive'",
        "models.Q(('id__isnull', False)), name='billing_price_is_positive'",
        BYPASS,
        "a_price_is_never_edited_deleted_or_below_one",
    ),
    Guard(
        "minting",
        "billing/ledger/holds.py",
        "if prompt_tokens < 1 or max_completion_tokens < 1:",
        "if False:",
        LEDGER,
        "hold_refuses_counts_below_one",
    ),
    Guard(
        "minting",
        "billing/ledger/entries.py",
        "if type(amount_microcredits) is not int or amount_microcredits <= 0:",
        "if type(amount_microcredits) is not int:",
        f"{LEDGER} {GRANTS}",
        "not_a_positive_integer or a_refund_is_a_positive",
    ),
    # An expiry that leaves no entry.
    Guard(
        "silent expiry",
        "billing/ledger/walls/grant_guard.sql",
        "pg_trigger_depth() < 2 OR ",
        "",
        ROLES,
        "the_owner_is_refused_too",
    ),
    Guard(
        "silent expiry",
        "billing/ledger/credits.py",
        "            expire_due_grants(Wallet.objects.select_for_update().get(pk=wallet_id))",
        "            pass",
        GRANTS,
        "an_expired_grant_is_taken_back_by_an_entry_once",
    ),
    # A 402 for a tiny prompt because `max_tokens` was large.
    Guard(
        "tiny prompt",
        "billing/ledger/holds.py",
        "    return affordable_tokens >= least_tokens",
        "    return affordable_tokens >= most_tokens",
        f"{LEDGER} {ANSWERS}",
        "clamped or a_tiny_prompt_is_not_refused",
    ),
    Guard(
        "your balance, where it was a cap",
        "billing/ledger/holds.py",
        'draft.limited_by = least if affordable_tokens < most_tokens else ""',
        'draft.limited_by = HoldLimit.BALANCE if affordable_tokens < most_tokens else ""',
        "tests/billing/ledger/test_what_limited_a_hold.py",
        "leaves_the_least_room",
    ),
    Guard(
        "a cancelled order is paid",
        "billing/pages/topups.py",
        "is_over = found.state == TopUpState.CANCELLED",
        "is_over = False",
        "tests/billing/topups/test_buying.py",
        "cancelled_order_is_not_paid",
    ),
]
