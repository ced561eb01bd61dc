"""The guards against the defects that money.md names and of the API, and for each the test that must fail without it.

`tests/test_guards.py` takes them away one at a time, in a copy of the project (`-m thorough`).
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Guard:
    """Where a guard stands (`text`, once in `file`), what is left without it, and the tests (`select`) that notice."""

    defect: str
    file: str
    text: str
    without: str
    tests: str
    select: str

    def __str__(self) -> str:
        return f"{self.defect}: {self.text.strip().splitlines()[0]}"


LEDGER = "tests/billing/test_ledger.py"
BYPASS = "tests/billing/test_bypass.py"
GRANTS = "tests/billing/test_grants.py"
TOPUPS = "tests/billing/test_topups.py"
CODES = "tests/billing/test_promotions.py"
REFUNDS = "tests/billing/test_refunds.py"
WEBHOOKS = "tests/billing/test_stripe_webhooks.py"
ANSWERS = "tests/inference/test_generation.py"
RETRIES = "tests/api/test_openai_retries.py"
CONVERSATIONS = "tests/api/test_conversations.py"
CAPS_OF_KEYS = "tests/api/test_key_caps_at_work.py"
LOGINS = "tests/api/test_login.py"
CACHE = "tests/inference/test_answer_cache.py tests/inference/test_single_flight.py"
SCHEDULING = "tests/inference/test_scheduling.py"
RELAY = "tests/inference/test_relay.py"

GUARDS = [
    # Check-then-spend overdraft.
    Guard(
        "overdraft",
        "billing/hot_path.py",
        "WHERE w.user_id = %s FOR UPDATE OF w",
        "WHERE w.user_id = %s",
        BYPASS,
        "twenty_threads_for_the_last_credit",
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
        "billing/entries.py",
        "if hold is None and -amount_microcredits > wallet.available_microcredits:",
        "if False:",
        GRANTS,
        "an_adjustment_down_leaves_what_is_held",
    ),
    # What is written past the ledger.
    Guard(
        "balance written directly",
        "billing/migrations/0002_walls.py",
        "ELSIF pg_trigger_depth() < 2 AND (NEW",
        "ELSIF FALSE AND (NEW",
        BYPASS,
        "a_balance_cannot_be or what_is_held_cannot_be_changed",
    ),
    Guard(
        "wallet born rich",
        "billing/migrations/0002_walls.py",
        "IF NEW.balance_microcredits <> 0 OR NEW.held_microcredits <> 0 THEN",
        "IF FALSE THEN",
        BYPASS,
        "a_wallet_cannot_be_born_rich",
    ),
    Guard(
        "entry rewritten",
        "billing/migrations/0002_walls.py",
        "BEFORE UPDATE OR DELETE ON billing_ledgerentry\n    FOR EACH ROW",
        "BEFORE UPDATE OR DELETE ON billing_ledgerentry\n    FOR EACH ROW WHEN (FALSE)",
        BYPASS,
        "an_entry_cannot_be_updated or an_entry_cannot_be_deleted",
    ),
    # "Trusted" users who skip the hold.
    Guard(
        "trusted user",
        "billing/ledger.py",
        "if not _fit(draft, max_completion_tokens, least_room):",
        "if not user.is_superuser and not _fit(draft, max_completion_tokens, least_room):",
        ANSWERS,
        "nobody_is_trusted",
    ),
    # A hold leaked on error or panic.
    Guard(
        "leaked hold",
        "inference/services.py",
        "        ledger.release(hold_id=generation.hold_id)\n        _tell(generation)",
        "        _tell(generation)",
        ANSWERS,
        "a_failing_engine_costs_nothing",
    ),
    Guard(
        "leaked hold",
        "inference/services.py",
        "Generation.objects.silent().union(Generation.objects.filter(overdue))",
        "Generation.objects.filter(overdue)",
        ANSWERS,
        "the_sweeper_ends_an_answer_whose_worker_went_silent",
    ),
    Guard(
        "leaked hold",
        "billing/ledger.py",
        "filter(state=HoldState.ACTIVE, expires_at__lt=timezone.now())",
        "none()",
        LEDGER,
        "a_forgotten_hold_expires",
    ),
    # An abort billed zero, in full, twice.
    Guard(
        "abort billed zero",
        "inference/services.py",
        "    ledger.settle(hold_id=generation.hold_id, completion_tokens=completion_tokens)",
        "    ledger.release(hold_id=generation.hold_id)",
        ANSWERS,
        "stop_costs_the_prompt_and_the_tokens_produced",
    ),
    Guard(
        "abort billed in full",
        "inference/services.py",
        "    ledger.settle(hold_id=generation.hold_id, completion_tokens=completion_tokens)",
        "    ledger.settle(hold_id=generation.hold_id, completion_tokens=generation.max_completion_tokens)",
        ANSWERS,
        "stop_costs_the_prompt_and_the_tokens_produced",
    ),
    Guard(
        "abort billed twice",
        "inference/services.py",
        "        GenerationState.RUNNING,\n        state=GenerationState.STOPPED",
        "        *GenerationState,\n        state=GenerationState.STOPPED",
        ANSWERS,
        "an_ended_answer_is_ended_no_second_time or a_worker_that_wakes_up_after_the_sweep",
    ),
    # An overrun floored at zero; a hold smaller than the worst case.
    Guard(
        "overrun",
        "billing/ledger.py",
        "if not 0 <= completion_tokens <= open_hold.max_completion_tokens:",
        "if False:",
        LEDGER,
        "settle_refuses_more_than_was_held",
    ),
    Guard(
        "floored at zero",
        "billing/ledger.py",
        "    owed = amount_microcredits - taken\n",
        "    owed = 0\n",
        TOPUPS,
        "a_chargeback_of_spent_credits_is_owed",
    ),
    Guard(
        "spending while owing",
        "billing/entries.py",
        "        pay_debts(wallet)\n        arm(wallet)",
        "        arm(wallet)",
        TOPUPS,
        "what_comes_in_pays_what_is_owed_first",
    ),
    Guard(
        "small hold",
        "billing/ledger.py",
        "draft.amount_microcredits = draft.prompt_cost_microcredits + draft.max_completion_tokens * token_cost",
        "draft.amount_microcredits = draft.max_completion_tokens * token_cost",
        LEDGER,
        "hold_sets_the_worst_case_aside",
    ),
    # Usage counted twice.
    Guard(
        "usage twice",
        "billing/hot_path.py",
        "WHERE id = %s AND state = %s\nRETURNING",
        "WHERE id = %s AND state <> 'none' || %s\nRETURNING",
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
        "inference/services.py",
        "@transaction.atomic\ndef settle_generation(",
        "def settle_generation(",
        ANSWERS,
        "an_end_that_cannot_be_written_charges_nothing",
    ),
    # An answer from the cache: shortened, free, or at another price than the hold says.
    Guard(
        "cached answer shortened",
        "billing/ledger.py",
        "    return most_tokens if draft.is_from_cache else min(most_tokens, settings.MIN_AFFORDABLE_TOKENS)",
        "    return min(most_tokens, settings.MIN_AFFORDABLE_TOKENS)",
        LEDGER,
        "from_the_cache_is_never_shortened",
    ),
    Guard(
        "free cached answer",
        "billing/prices.py",
        "-(-price * settings.ANSWER_CACHE_PRICE_PERCENT // 100)",
        "price * settings.ANSWER_CACHE_PRICE_PERCENT // 100",
        LEDGER,
        "cache_prices_are_rounded_up",
    ),
    Guard(
        "cache price for another hold",
        "billing/migrations/0013_hold_from_cache.py",
        "migrations.RunSQL(FORWARD, BACKWARD)",
        "migrations.RunSQL('', '')",
        BYPASS,
        "a_hold_cannot_become_one_from_the_cache",
    ),
    # Another's answer, another request's, one that was cut short or erased; generated more than once; nobody to go on.
    Guard(
        "another user's answer",
        "inference/answer_cache.py",
        '"user": None if use == CacheUse.PUBLIC else user.pk,',
        '"user": None,',
        CACHE,
        "a_private_answer_is_not_given_to_another_user",
    ),
    Guard(
        "another request's answer",
        "inference/answer_cache.py",
        'asdict(parameters) | {"max_tokens": requested_tokens}',
        '{"max_tokens": requested_tokens, "seed": parameters.seed}',
        CACHE,
        "another_request_is_not_answered",
    ),
    Guard(
        "another request's answer",
        "inference/answer_cache.py",
        "filter(pk=place.answer_id, cache_key=place.key, follows=None)",
        "filter(pk=place.answer_id)",
        CACHE,
        "another_answer_under_the_key",
    ),
    Guard(
        "other weights",
        "inference/answer_cache.py",
        '"revision": revision_of(key=model.key, source=model.source),',
        '"revision": model.source,',
        CACHE,
        "other_weights_are_another_revision",
    ),
    Guard(
        "cut short",
        "inference/answer_cache.py",
        'and not (generation.is_limited_by_balance and generation.finish_reason != "stop")',
        "",
        CACHE,
        "what_the_wallet_cut_short",
    ),
    Guard(
        "erased answer",
        "inference/answer_cache.py",
        'and generation.text != ""  # erased, or nothing was said',
        "",
        CACHE,
        "an_answer_that_was_erased",
    ),
    Guard(
        "stopped answer repeated",
        "inference/answer_cache.py",
        "        generation.state == GenerationState.COMPLETED\n        and",
        "        True\n        and",
        CACHE,
        "the_leader_is_stopped",
    ),
    Guard(
        "generated twice",
        "inference/answer_cache.py",
        "        lock_key(place.key)\n",
        "",
        CACHE,
        "ten_at_once_of_two_users",
    ),
    Guard(
        "generated twice",
        "inference/models.py",
        "return self.filter(state=GenerationState.QUEUED, follows=None)",
        "return self.filter(state=GenerationState.QUEUED)",
        CACHE,
        "ten_at_once or neither_sent_to_a_worker",
    ),
    Guard(
        "generated twice",
        "inference/migrations/0003_answer_cache.py",
        "models.UniqueConstraint(condition=models.Q(('cache_key__gt', ''), ('follows__isnull', True), ('state__in', "
        "('queued', 'running'))), fields=('cache_key',), name='inference_generation_one_leads_a_key')",
        "models.CheckConstraint(condition=models.Q(('id__isnull', False)), "
        "name='inference_generation_one_leads_a_key')",
        CACHE,
        "the_database_lets_one_lead",
    ),
    Guard(
        "left waiting",
        "inference/single_flight.py",
        "    next_id = _choose_next(leader_id)\n",
        "    next_id = None\n",
        CACHE,
        "when_the_leader",
    ),
    Guard(
        "left waiting",
        "inference/tasks.py",
        "    single_flight.sweep_followers()\n",
        "",
        CACHE,
        "the_sweeper_goes_on",
    ),
    Guard(
        "left waiting",
        "inference/services.py",
        "Q(follows=None, created_at__lt=limit) | Q(created_at__lt=followers_limit)",
        "Q(follows=None, created_at__lt=limit)",
        CACHE,
        "neither_sent_to_a_worker",
    ),
    Guard(
        "follower charged twice",
        "inference/services.py",
        "    if generation is None:\n        return None\n    worst_case",
        "    generation = generation or Generation.objects.get(pk=generation_id)\n    worst_case",
        CACHE,
        "stopped_or_went_on_alone",
    ),
    Guard(
        "follower's hold kept",
        "inference/services.py",
        "    worst_case = ledger.release(hold_id=generation.hold_id)\n",
        "    worst_case = generation.hold\n",
        CACHE,
        "ten_at_once_are_generated_once",
    ),
    Guard(
        "cache price unproved",
        "inference/apps.py",
        "        register_check(cached_answers_repeat_what_was_generated)\n",
        "",
        CACHE,
        "the_cache_price_without_the_answer",
    ),
    # A code redeemed twice.
    Guard(
        "code twice",
        "billing/promotions.py",
        "if used >= code.most_per_user:",
        "if False:",
        CODES,
        "a_code_is_used_once_by_each_user",
    ),
    Guard(
        "code twice",
        "billing/promotions.py",
        "spelled(_clean(text)).select_for_update().first()",
        "spelled(_clean(text)).first()",
        CODES,
        "the_last_redemption_of_a_code_goes_to_one",
    ),
    Guard(
        "code twice",
        "billing/promotions.py",
        "    if earlier is not None:\n        if not PromotionCode",
        "    if False:\n        if not PromotionCode",
        CODES,
        "with_one_key_is_used_once",
    ),
    # A forged webhook, or one signed with an empty secret.
    Guard(
        "forged webhook",
        "billing/stripe_payments.py",
        "body, signature, settings.STRIPE_WEBHOOK_SECRET, SIGNATURE_TOLERANCE_SECONDS, settings.STRIPE_SECRET_KEY",
        "body, signature, settings.STRIPE_WEBHOOK_SECRET, None, settings.STRIPE_SECRET_KEY",
        WEBHOOKS,
        "a_forged_webhook_is_refused",
    ),
    Guard(
        "forged webhook",
        "billing/stripe_payments.py",
        "event = stripe.Webhook.construct_event(\n            body,",
        "event = (lambda body, *_rest: __import__('json').loads(body))(\n            body,",
        WEBHOOKS,
        "a_forged_webhook_is_refused",
    ),
    Guard(
        "empty secret",
        "billing/stripe_payments.py",
        "if not settings.STRIPE_WEBHOOK_SECRET.strip():",
        "if False:",
        WEBHOOKS,
        "an_empty_secret_signs_nothing",
    ),
    Guard(
        "empty secret",
        "config/settings/base.py",
        "    if not STRIPE_WEBHOOK_SECRET:",
        "    if False:",
        WEBHOOKS,
        "without_a_webhook_secret_refuses_to_start",
    ),
    # One provider completing another's order.
    Guard(
        "another provider",
        "billing/topups.py",
        "if topup is None or topup.provider != provider:",
        "if topup is None:",
        f"{TOPUPS} {WEBHOOKS}",
        "one_provider",
    ),
    # Paid but never credited.
    Guard(
        "never credited",
        "billing/webhooks.py",
        "    Outcome.FAILED: HTTPStatus.INTERNAL_SERVER_ERROR,",
        "    Outcome.FAILED: HTTPStatus.OK,",
        WEBHOOKS,
        "paid_but_never_credited",
    ),
    Guard(
        "never credited",
        "billing/reconciliation.py",
        "if topup.state != TopUpState.PAID:",
        "if False:",
        "tests/billing/test_stripe_reconciliation.py",
        "paid_but_never_credited",
    ),
    # Credited twice.
    Guard(
        "credited twice",
        "billing/topups.py",
        "    if topup.state == TopUpState.PAID:\n        if topup.payment_reference",
        "    if False:\n        if topup.payment_reference",
        TOPUPS,
        "a_second_payment_of_an_order or reported_paid_again",
    ),
    Guard(
        "credited twice",
        "billing/entries.py",
        "    repeat = None if is_first else find_repeat(wallet, kind, amount_microcredits, idempotency_key, hold)",
        "    repeat = None",
        LEDGER,
        "grant_with_the_same_key_grants_once",
    ),
    Guard(
        "credited twice",
        "billing/stripe_events.py",
        "    event = PaymentEvent.objects.select_for_update().get(pk=stored.pk)\n",
        "    event = PaymentEvent.objects.get(pk=stored.pk)\n",
        WEBHOOKS,
        "two_deliveries_of_one_event_wait_for_each_other",
    ),
    Guard(
        "credited twice",
        "billing/stripe_events.py",
        "    if event.processed_at is not None:",
        "    if False:",
        WEBHOOKS,
        "an_event_is_processed_once",
    ),
    # One key, two requests.
    Guard(
        "same key, other inputs",
        "billing/entries.py",
        "if earlier is not None and earlier.inputs_hash != inputs_hash:",
        "if False:",
        LEDGER,
        "refuses_a_key_that_was_used_with_other_inputs",
    ),
    Guard(
        "same key, other inputs",
        "billing/topups.py",
        "        if earlier.inputs_hash != inputs_hash:",
        "        if False:",
        "tests/billing/test_buying.py",
        "another_amount_under_the_same_key",
    ),
    # Settled, then failed, then credited again.
    Guard(
        "failed after settling",
        "billing/topups.py",
        "    topup = lock_order(topup_id, provider)\n    if topup.state != TopUpState.PAID:\n"
        "        topup.state = state",
        "    topup = lock_order(topup_id, provider)\n    if True:\n        topup.state = state",
        TOPUPS,
        "settled_then_failed_then_settled_again",
    ),
    Guard(
        "failed after settling",
        "inference/services.py",
        "        *LIVE_STATES,\n        state=GenerationState.FAILED",
        "        *GenerationState,\n        state=GenerationState.FAILED",
        ANSWERS,
        "an_ended_answer_is_ended_no_second_time",
    ),
    # A chargeback keeps the credits; more is clawed back than was charged after a won dispute.
    Guard(
        "chargeback",
        "billing/topups.py",
        "        ledger.claw_back(topup=topup, amount_microcredits=change, idempotency_key=key, reason=taken)",
        "        pass",
        f"{TOPUPS} {WEBHOOKS}",
        "chargeback",
    ),
    Guard(
        "won dispute",
        "billing/topups.py",
        "    returned_minor = min(topup.refunded_minor + topup.disputed_minor, topup.amount_minor)",
        "    returned_minor = topup.refunded_minor + topup.disputed_minor",
        f"{TOPUPS} {WEBHOOKS}",
        "won",
    ),
    Guard(
        "won dispute",
        "billing/topups.py",
        "    change = target - topup.clawed_back_microcredits\n",
        "    change = target or -topup.clawed_back_microcredits\n",
        f"{TOPUPS} {WEBHOOKS}",
        "won",
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
        "billing/ledger.py",
        "if prompt_tokens < 1 or max_completion_tokens < 1:",
        "if False:",
        LEDGER,
        "hold_refuses_counts_below_one",
    ),
    Guard(
        "minting",
        "billing/entries.py",
        "if type(amount_microcredits) is not int or amount_microcredits <= 0:",
        "if type(amount_microcredits) is not int:",
        f"{LEDGER} {GRANTS}",
        "not_a_positive_integer or a_refund_is_a_positive",
    ),
    # An expiry that leaves no entry.
    Guard(
        "silent expiry",
        "billing/migrations/0004_grant_walls.py",
        "NEW IS DISTINCT FROM OLD AND (pg_trigger_depth() < 2\n        OR ",
        "NEW IS DISTINCT FROM OLD AND (",
        BYPASS,
        "a_grant_changes_only_through_its_uses",
    ),
    Guard(
        "silent expiry",
        "billing/ledger.py",
        "            expire_due_grants(Wallet.objects.select_for_update().get(pk=wallet_id))",
        "            pass",
        GRANTS,
        "an_expired_grant_is_taken_back_by_an_entry_once",
    ),
    # A 402 for a tiny prompt because `max_tokens` was large.
    Guard(
        "tiny prompt",
        "billing/ledger.py",
        "    return affordable_tokens >= least_tokens",
        "    return affordable_tokens >= most_tokens",
        f"{LEDGER} {ANSWERS}",
        "clamped or a_tiny_prompt_is_not_refused",
    ),
    # Refunds above the charge, without a reason, by the person who asked.
    Guard(
        "refund above the charge",
        "billing/ledger.py",
        "    if amount_microcredits > refundable:",
        "    if False:",
        GRANTS,
        "refunds_together_never_exceed or two_refunds_at_once",
    ),
    Guard(
        "refund above the charge",
        "billing/refunds.py",
        "    ledger.lock_wallet(user=hold.wallet.user)\n",
        "",
        REFUNDS,
        "a_second_refund_while_the_first_is_decided_on",
    ),
    Guard(
        "refund above the charge",
        "billing/refunds.py",
        "if type(amount) is not int or not 0 < amount <= most:",
        "if type(amount) is not int:",
        REFUNDS,
        "an_amount_that_cannot_be_refunded or a_refund_of_a_refund",
    ),
    Guard(
        "refund without a reason",
        "billing/refunds.py",
        "    if not reason:\n",
        "    if False:\n",
        REFUNDS,
        "a_refund_needs_a_reason",
    ),
    Guard(
        "refund approved alone",
        "billing/refunds.py",
        "if locked.requested_by_id == by.pk:",
        "if False:",
        REFUNDS,
        "a_large_refund_waits_for_a_second_person",
    ),
    # What the API adds: keys, scopes, limits, retries, clients that leave.
    Guard(
        "key without its cap",
        "inference/services.py",
        "        api_key=api_key,\n    )\n    is_cached",
        "        api_key=None,\n    )\n    is_cached",
        CAPS_OF_KEYS,
        "every_way_of_asking_notes_the_key or keep_within_the_cap",
    ),
    Guard(
        "key without the scope",
        "inference/api_access.py",
        "if not has_scope(credential, Scope.CHAT):",
        "if False:",
        "tests/test_who_may_open.py",
        "everybody_opens_what_the_table_says",
    ),
    Guard(
        "key of a suspended user",
        "accounts/api_auth.py",
        "if key is None or not key.user.is_active:",
        "if key is None:",
        "tests/api/test_keys.py",
        "a_suspended_user_is_out",
    ),
    Guard(
        "log-in of a suspended user",
        "accounts/api_sessions.py",
        "if session is None or not session.user.is_active:",
        "if session is None:",
        f"{LOGINS} tests/api/test_keys.py",
        "a_suspended_user",
    ),
    Guard(
        "refresh token used twice",
        "accounts/api_sessions.py",
        "filter(pk=session.pk, refresh_id=used, revoked_at__isnull=True)",
        "filter(pk=session.pk, revoked_at__isnull=True)",
        LOGINS,
        "a_refresh_token_is_good_once or of_two_refreshes_at_once",
    ),
    Guard(
        "stolen token that stays good",
        "accounts/api_sessions.py",
        "        revoke_session(session=session)\n        raise InvalidToken",
        "        raise InvalidToken",
        LOGINS,
        "a_refresh_token_is_good_once",
    ),
    Guard(
        "unlimited tokens",
        "accounts/api_limits.py",
        "        if count - tokens >= limit:",
        "        if False:",
        "tests/api/test_generations.py",
        "tokens_are_limited",
    ),
    Guard(
        "crowd",
        "inference/services.py",
        "    if not insert_generation(generation, settings.MAX_LIVE_GENERATIONS):",
        "    if not insert_generation(generation, 10**9):",
        "tests/api/test_generations.py",
        "a_crowd_at_the_same_moment",
    ),
    Guard(
        "a flood that delays others",
        "inference/hot_path.py",
        "    ORDER BY COALESCE(busy.running, 0), q.created_at",
        "    ORDER BY q.created_at",
        SCHEDULING,
        "the_fewest_running_answers",
    ),
    Guard(
        "a task that finds its row locked",
        "inference/worker.py",
        "self._claim(model_key) or self._claim_passed_over(model_key)",
        "self._claim(model_key)",
        SCHEDULING,
        "somebody_is_just_changing",
    ),
    Guard(
        "stop that overtakes the claim",
        "inference/worker.py",
        "                if generation.pk in self._early_stops:",
        "                if False:",
        SCHEDULING,
        "a_stop_that_comes_before",
    ),
    Guard(
        "text missed by who joins",
        "inference/relay_reader.py",
        "                for follower in asked[key]:",
        "                for follower in self._followers.get(key, ()):",
        RELAY,
        "who_joins_while_others_are_read_for",
    ),
    Guard(
        "text repeated",
        "inference/relay_reader.py",
        "chunk.at if self._seen is None else self._seen",
        "chunk.at",
        RELAY,
        "did_not_confirm or written_twice",
    ),
    Guard(
        "retry charged twice",
        "inference/completions.py",
        'key = f"api:{hashlib.sha256(question.idempotency_key.encode()).hexdigest()}"',
        "pass",
        RETRIES,
        "a_retry_with_the_same_key",
    ),
    Guard(
        "retry charged twice",
        "inference/completions.py",
        "            if earlier is not None:\n                return earlier",
        "            pass",
        RETRIES,
        "time_out_and_retries_are_charged_once",
    ),
    Guard(
        "client that left",
        "inference/openai_answers.py",
        "    await in_own_thread(partial(give_up, generation_id=visit.generation.pk, attempt=visit.attempt))",
        "    pass",
        "tests/api/test_openai_disconnects.py",
        "drops_a_stream or gives_up_a_plain_request",
    ),
    Guard(
        "connection held while waiting",
        "inference/following.py",
        "        finally:\n            connection.close()",
        "        finally:\n            pass",
        "tests/api/test_generation_events.py",
        "events_hold_no_database_connection",
    ),
    Guard(
        "conversation rewritten",
        "chat/keeping.py",
        "if answer.role != Role.ASSISTANT or later.filter(role=Role.USER).exists():",
        "if answer.role != Role.ASSISTANT:",
        CONVERSATIONS,
        "only_the_last_answer_is_written_again",
    ),
    Guard(
        "deleted under an answer",
        "chat/keeping.py",
        "    if generations.live().exists():",
        "    if False:",
        CONVERSATIONS,
        "is_not_deleted_under_an_answer",
    ),
    Guard(
        "branch of what is being written",
        "chat/keeping.py",
        "    if Generation.objects.live().filter(message__in=kept).exists():",
        "    if False:",
        CONVERSATIONS,
        "a_branch_of_an_unfinished_answer",
    ),
]
