"""Credits that come in and go back: codes, payments, chargebacks, refunds."""

from tests.guards.guard import Guard

LEDGER = "tests/billing/ledger/test_ledger.py"
GRANTS = "tests/billing/ledger/test_grants.py"
TOPUPS = "tests/billing/topups/test_topups.py"
CODES = "tests/billing/topups/test_promotions.py"
REFUNDS = "tests/billing/refunds/test_requests.py"
CURRENCIES = "tests/billing/test_currencies.py"
WEBHOOKS = "tests/billing/stripe/test_webhooks.py tests/billing/stripe/test_payment_events.py"
ANSWERS = "tests/inference/generations/test_generation.py tests/inference/generations/test_requests.py"

PAYMENTS = [
    # A code redeemed twice.
    Guard(
        "code twice",
        "billing/topups/promotions.py",
        "if used >= code.most_per_user:",
        "if False:",
        CODES,
        "a_code_is_used_once_by_each_user",
    ),
    Guard(
        "code twice",
        "billing/topups/promotions.py",
        "spelled(_clean(text)).select_for_update().first()",
        "spelled(_clean(text)).first()",
        CODES,
        "the_last_redemption_of_a_code_goes_to_one",
    ),
    Guard(
        "code twice",
        "billing/topups/promotions.py",
        "    if earlier is not None:\n        if not PromotionCode",
        "    if False:\n        if not PromotionCode",
        CODES,
        "with_one_key_is_used_once",
    ),
    # An amount in another unit or another currency than was agreed to.
    Guard(
        "a hundred times the price",
        "billing/stripe/amounts.py",
        "return _shift(amount_minor, _stripe_decimals(currency) - decimals_of(currency))",
        "return amount_minor",
        CURRENCIES,
        "what_a_customer_types",
    ),
    Guard(
        "a hundred times the price",
        "billing/currencies.py",
        "return get_currency_precision(currency.upper())",
        "return 2",
        CURRENCIES,
        "what_a_customer_types",
    ),
    Guard(
        "charged in another currency",
        "billing/topups/automatic.py",
        "(offer.amount_minor, offer.currency) != agreed",
        "offer.amount_minor != agreed[0]",
        CURRENCIES,
        "agreed_to_in_dollars",
    ),
    # An event of Stripe's that is lost in a redirect, or of something else that is sold on the account.
    Guard(
        "webhook redirected",
        "billing/pages/urls.py",
        "^webhooks/stripe/?$",
        "^webhooks/stripe/$",
        WEBHOOKS,
        "taken_where_it_is_sent",
    ),
    Guard(
        "webhook redirected",
        "config/settings/production.py",
        """[r"^credits/webhooks/stripe/?$"]""",
        "[]",
        WEBHOOKS,
        "taken_where_it_is_sent",
    ),
    Guard(
        "alarm about somebody else's sale",
        "billing/stripe/events.py",
        "    if not payment_intent:\n        return None",
        "    if not payment_intent:\n        raise TopUpConflict",
        WEBHOOKS,
        "what_else_is_sold",
    ),
    # A forged webhook, or one signed with an empty secret.
    Guard(
        "forged webhook",
        "billing/stripe/provider.py",
        "body, signature, settings.STRIPE_WEBHOOK_SECRET, SIGNATURE_TOLERANCE_SECONDS, settings.STRIPE_SECRET_KEY",
        "body, signature, settings.STRIPE_WEBHOOK_SECRET, None, settings.STRIPE_SECRET_KEY",
        WEBHOOKS,
        "a_forged_webhook_is_refused",
    ),
    Guard(
        "forged webhook",
        "billing/stripe/provider.py",
        "event = stripe.Webhook.construct_event(\n            body,",
        "event = (lambda body, *_rest: __import__('json').loads(body))(\n            body,",
        WEBHOOKS,
        "a_forged_webhook_is_refused",
    ),
    Guard(
        "empty secret",
        "billing/stripe/provider.py",
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
        "billing/topups/orders.py",
        "if topup is None or topup.provider != provider:",
        "if topup is None:",
        f"{TOPUPS} {WEBHOOKS}",
        "one_provider",
    ),
    # Paid but never credited.
    Guard(
        "never credited",
        "billing/stripe/webhooks.py",
        "    Outcome.FAILED: HTTPStatus.INTERNAL_SERVER_ERROR,",
        "    Outcome.FAILED: HTTPStatus.OK,",
        WEBHOOKS,
        "paid_but_never_credited",
    ),
    Guard(
        "never credited",
        "billing/stripe/reconciliation.py",
        "if topup.state != TopUpState.PAID:",
        "if False:",
        "tests/billing/stripe/test_reconciliation.py",
        "paid_but_never_credited",
    ),
    # Credited twice.
    Guard(
        "credited twice",
        "billing/topups/orders.py",
        "    if topup.state == TopUpState.PAID:\n        if topup.payment_reference",
        "    if False:\n        if topup.payment_reference",
        TOPUPS,
        "a_second_payment_of_an_order or reported_paid_again",
    ),
    Guard(
        "credited twice",
        "billing/ledger/entries.py",
        "    repeat = find_repeat(wallet, kind, amount_microcredits, idempotency_key, hold)",
        "    repeat = None",
        LEDGER,
        "grant_with_the_same_key_grants_once",
    ),
    Guard(
        "credited twice",
        "billing/stripe/events.py",
        "    event = PaymentEvent.objects.select_for_update().get(pk=stored.pk)\n",
        "    event = PaymentEvent.objects.get(pk=stored.pk)\n",
        WEBHOOKS,
        "two_deliveries_of_one_event_wait_for_each_other",
    ),
    Guard(
        "credited twice",
        "billing/stripe/events.py",
        "    if event.processed_at is not None:",
        "    if False:",
        WEBHOOKS,
        "an_event_is_processed_once",
    ),
    # One key, two requests.
    Guard(
        "same key, other inputs",
        "billing/ledger/entries.py",
        "if earlier is not None and not asked_the_same(earlier, inputs_hash=inputs_hash):",
        "if False:",
        LEDGER,
        "refuses_a_key_that_was_used_with_other_inputs",
    ),
    Guard(
        "same key, other inputs",
        "billing/topups/orders.py",
        "        if not asked_the_same(earlier, inputs_hash=inputs_hash):",
        "        if False:",
        "tests/billing/topups/test_buying.py",
        "another_amount_under_the_same_key",
    ),
    # Settled, then failed, then credited again.
    Guard(
        "failed after settling",
        "billing/topups/orders.py",
        "    topup = lock_order(topup_id, provider)\n    if topup.state != TopUpState.PAID:\n"
        "        topup.state = state",
        "    topup = lock_order(topup_id, provider)\n    if True:\n        topup.state = state",
        TOPUPS,
        "settled_then_failed_then_settled_again",
    ),
    Guard(
        "failed after settling",
        "inference/generations/endings.py",
        "        *LIVE_STATES,\n        state=GenerationState.FAILED",
        "        *GenerationState,\n        state=GenerationState.FAILED",
        ANSWERS,
        "an_ended_answer_is_ended_no_second_time",
    ),
    # A chargeback keeps the credits; more is clawed back than was charged after a won dispute.
    Guard(
        "chargeback",
        "billing/topups/orders.py",
        "        ledger.claw_back(topup=topup, amount_microcredits=change, idempotency_key=key, reason=taken)",
        "        pass",
        f"{TOPUPS} {WEBHOOKS}",
        "chargeback",
    ),
    Guard(
        "won dispute",
        "billing/topups/orders.py",
        "    returned_minor = min(topup.refunded_minor + topup.disputed_minor, topup.amount_minor)",
        "    returned_minor = topup.refunded_minor + topup.disputed_minor",
        f"{TOPUPS} {WEBHOOKS}",
        "won",
    ),
    Guard(
        "won dispute",
        "billing/topups/orders.py",
        "    change = target - topup.clawed_back_microcredits\n",
        "    change = target or -topup.clawed_back_microcredits\n",
        f"{TOPUPS} {WEBHOOKS}",
        "won",
    ),
    # Refunds above the charge, without a reason, by the person who asked.
    Guard(
        "refund above the charge",
        "billing/ledger/refunds.py",
        "    if amount_microcredits > refundable:",
        "    if False:",
        GRANTS,
        "refunds_together_never_exceed or two_refunds_at_once",
    ),
    Guard(
        "refund above the charge",
        "billing/refunds/requests.py",
        "    ledger.lock_wallet(user=hold.wallet.user)\n",
        "",
        REFUNDS,
        "a_second_refund_while_the_first_is_decided_on",
    ),
    Guard(
        "refund above the charge",
        "billing/refunds/requests.py",
        "if type(amount) is not int or not 0 < amount <= most:",
        "if type(amount) is not int:",
        REFUNDS,
        "an_amount_that_cannot_be_refunded or a_refund_of_a_refund",
    ),
    Guard(
        "refund without a reason",
        "billing/refunds/requests.py",
        '    if not said["reason"]:\n',
        "    if False:\n",
        REFUNDS,
        "a_refund_needs_a_reason",
    ),
    Guard(
        "refund approved alone",
        "billing/refunds/requests.py",
        "if locked.requested_by_id == by.pk:",
        "if False:",
        REFUNDS,
        "a_large_refund_waits_for_a_second_person",
    ),
]
