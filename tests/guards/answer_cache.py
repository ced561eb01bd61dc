"""Answers from the cache: whose they are, what they cost, who makes them."""

from tests.guards.guard import Guard

LEDGER = "tests/billing/ledger/test_ledger.py"
ROLES = "tests/billing/ledger/test_bypass_roles.py"
CACHE = "tests/inference/test_answer_cache.py tests/inference/generations/test_single_flight.py"

ANSWER_CACHE = [
    # An answer from the cache: shortened, free, or at another price than the hold says.
    Guard(
        "cached answer shortened",
        "billing/ledger/holds.py",
        "    return most_tokens if draft.is_from_cache else min(most_tokens, settings.MIN_AFFORDABLE_TOKENS)",
        "    return min(most_tokens, settings.MIN_AFFORDABLE_TOKENS)",
        LEDGER,
        "from_the_cache_is_never_shortened",
    ),
    Guard(
        "free cached answer",
        "billing/ledger/prices.py",
        "-(-price * settings.ANSWER_CACHE_PRICE_PERCENT // 100)",
        "price * settings.ANSWER_CACHE_PRICE_PERCENT // 100",
        LEDGER,
        "cache_prices_are_rounded_up",
    ),
    Guard(
        "cache price for another hold",
        "billing/ledger/walls/hold_cache_keep.sql",
        "WHEN (NEW.is_from_cache IS DISTINCT FROM OLD.is_from_cache)",
        "WHEN (FALSE)",
        ROLES,
        "the_owner_is_refused_too",
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
        "sampling = asdict(request.sampling)",
        'sampling = {"seed": request.sampling.seed}',
        CACHE,
        "another_request_is_not_answered",
    ),
    Guard(
        "another request's answer",
        "inference/answer_cache.py",
        "filter(pk=lookup.answer_id, cache_key=lookup.key, follows=None)",
        "filter(pk=lookup.answer_id)",
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
        "        lock_key(lookup.key)\n",
        "",
        CACHE,
        "ten_at_once_of_two_users",
    ),
    Guard(
        "generated twice",
        "inference/generations/statements.py",
        "AND g.state = %s AND g.follows IS NULL",
        "AND g.state = %s",
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
        "inference/generations/single_flight.py",
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
        "inference/models.py",
        "Q(follows=None, created_at__lt=limit) | Q(created_at__lt=followers_limit)",
        "Q(follows=None, created_at__lt=limit)",
        CACHE,
        "neither_sent_to_a_worker",
    ),
    Guard(
        "follower charged twice",
        "inference/generations/endings.py",
        "    if generation is None:\n        return None\n    worst_case",
        "    generation = generation or Generation.objects.get(pk=generation_id)\n    worst_case",
        CACHE,
        "stopped_or_went_on_alone",
    ),
    Guard(
        "follower's hold kept",
        "inference/generations/endings.py",
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
]
