"""What one person of the staff must not do alone, and what nobody does for themselves."""

from tests.guards.guard import Guard

TWO = "tests/billing/test_two_people.py"
PRICES = "tests/billing/test_admin_prices.py"
RIGHTS = "tests/accounts/test_rights.py"
BONUS = "tests/accounts/test_one_bonus_a_mailbox.py"
MAILBOXES = "tests/billing/test_mailboxes.py"

PEOPLE = [
    Guard(
        "one person moves any sum",
        "billing/approvals.py",
        "return moved + worth_microcredits > most",
        "return worth_microcredits > most",
        TWO,
        "in_parts or sum_over_customers or count_together",
    ),
    Guard(
        "one customer gets any sum",
        "billing/approvals.py",
        "else max(_moved_by(by), moved_for(customer))",
        "else _moved_by(by)",
        TWO,
        "over_everybody_who_gave",
    ),
    Guard(
        "one person in several places",
        "billing/approvals.py",
        '"SELECT pg_advisory_xact_lock(hashtext(%s))"',
        '"SELECT hashtext(%s)"',
        TWO,
        "one_person_at_six_customers or an_adjustment_and_a_code_at_once",
    ),
    Guard(
        "one's own wallet",
        "billing/approvals.py",
        "if by.pk == customer.pk:",
        "if False:",
        TWO,
        "nobody_adjusts or nobody_refunds or nobody_decides",
    ),
    Guard(
        "one's own request",
        "billing/adjustments.py",
        "if locked.requested_by_id == by.pk:",
        "if False:",
        TWO,
        "above_the_limit_waits",
    ),
    Guard(
        "one's own code",
        "billing/promotions.py",
        "if user.pk in (code.created_by_id, code.approved_by_id):",
        "if False:",
        TWO,
        "nobody_redeems",
    ),
    Guard(
        "codes of any worth",
        "billing/promotions.py",
        "if not code.is_active or code.is_waiting or now < code.starts_at:",
        "if not code.is_active or now < code.starts_at:",
        TWO,
        "worth_more_than_the_limit or as_a_whole",
    ),
    Guard(
        "a price that began last year",
        "billing/services.py",
        "if effective_at is not None and effective_at < now - PRICE_IS_LATE:",
        "if False:",
        PRICES,
        "in_the_past",
    ),
    Guard(
        "any credits for a cent",
        "billing/services.py",
        "if not least <= package.credits_microcredits + package.bonus_microcredits <= most:",
        "if False:",
        PRICES,
        "far_from_what_its_money_buys",
    ),
    Guard(
        "superusers made by anybody",
        "accounts/rights.py",
        "if not by.is_superuser:",
        "if False:",
        RIGHTS,
        "only_a_superuser_gives_rights",
    ),
    Guard(
        "one's own rights",
        "accounts/rights.py",
        "if user.pk == by.pk:",
        "if False:",
        RIGHTS,
        "nobody_changes_their_own_rights",
    ),
    Guard(
        "a bonus for every account",
        "billing/services.py",
        "if not mailboxes.keep_mailbox(email=email):",
        "if mailboxes.keep_mailbox(email=email) is None:",
        f"{BONUS} {MAILBOXES}",
        "another_spelling or closed_and_opened or two_sign_ups_at_once",
    ),
    Guard(
        "a bonus for every spelling",
        "billing/mailboxes.py",
        '    name = _before(name, "+")\n',
        "",
        f"{BONUS} {MAILBOXES}",
        "another_spelling or many_spellings",
    ),
    Guard(
        "a bonus for every address of one account",
        "billing/receivers.py",
        "if instance.verified and not raw and had_bonus(user_id=instance.user_id):",
        "if False:",
        BONUS,
        "an_address_that_was_added",
    ),
    Guard(
        "new again after closing",
        "billing/promotions.py",
        "return is_recent and not has_bought and not was_here_before(user=user)",
        "return is_recent and not has_bought",
        BONUS,
        "code_for_new_customers",
    ),
]
