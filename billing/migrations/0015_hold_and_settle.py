"""The ordinary hold and the ordinary settlement, each one call (docs/adr/0024).

Both are what `billing.ledger` does by way of the ORM for a wallet in its ordinary state: one that owes nothing, with no
credit that is due to expire, and enough for the whole of what is asked. For any other they change nothing and return no
row, and `billing.ledger` says what is wrong or does what is needed. What room a monthly cap leaves (`p_room`), the
caller says who has the wallet locked; without it a wallet with a cap is not ordinary.

Each first locks the wallet. In READ COMMITTED, Django's default, every statement of a function sees what was committed
when it begins: those after the lock see all that was decided before. Nothing here goes around a wall: the triggers,
constraints and foreign keys are those that any other statement meets.
"""

from django.db import migrations

FORWARD = """
CREATE FUNCTION billing_place_hold(p_user bigint, p_hold uuid, p_reference text, p_model_key text,
    p_prompt_tokens bigint, p_max_completion_tokens bigint, p_api_key bigint, p_room bigint,
    p_now timestamptz, p_expires_at timestamptz) RETURNS SETOF billing_hold LANGUAGE plpgsql AS $$
DECLARE
    wallet billing_wallet;
    price billing_price;
    worst_case numeric;  -- a bigint may be too small for it, and then it is no ordinary case
BEGIN
    SELECT * INTO wallet FROM billing_wallet WHERE user_id = p_user FOR UPDATE;
    SELECT * INTO price FROM billing_price WHERE model_key = p_model_key AND effective_at <= p_now
        ORDER BY effective_at DESC, id DESC LIMIT 1;
    worst_case := p_prompt_tokens * price.prompt_microcredits_per_token::numeric
        + p_max_completion_tokens * price.completion_microcredits_per_token::numeric;
    -- Null without a wallet or a price. LEAST passes over a null: then no cap limits what is held.
    IF worst_case <= LEAST(wallet.balance_microcredits - wallet.held_microcredits, p_room)
        AND (wallet.monthly_cap_microcredits IS NULL OR p_room IS NOT NULL)
        AND NOT EXISTS (SELECT FROM billing_hold WHERE reference = p_reference)
        AND NOT EXISTS (SELECT FROM billing_debt WHERE wallet_id = wallet.id AND remaining_microcredits > 0)
        AND NOT EXISTS (SELECT FROM billing_grant
                        WHERE wallet_id = wallet.id AND remaining_microcredits > 0 AND expires_at <= p_now) THEN
        RETURN QUERY INSERT INTO billing_hold (id, wallet_id, reference, state, model_key,
            prompt_microcredits_per_token, completion_microcredits_per_token, is_from_cache, prompt_tokens,
            max_completion_tokens, amount_microcredits, api_key_id, created_at, expires_at)
        VALUES (p_hold, wallet.id, p_reference, 'active', p_model_key,
            price.prompt_microcredits_per_token, price.completion_microcredits_per_token, FALSE, p_prompt_tokens,
            p_max_completion_tokens, worst_case, p_api_key, p_now, p_expires_at)
        RETURNING *;
    END IF;
END $$;

CREATE FUNCTION billing_settle_hold(p_hold uuid, p_completion_tokens bigint, p_now timestamptz)
    RETURNS TABLE (hold billing_hold, wallet billing_wallet) LANGUAGE plpgsql AS $$
DECLARE
    of_wallet bigint;
    most_tokens bigint;
    usage_entry bigint;
    unpaid bigint;
    part bigint;
    spendable record;
BEGIN
    SELECT w.id, h.max_completion_tokens INTO of_wallet, most_tokens
        FROM billing_wallet w JOIN billing_hold h ON h.wallet_id = w.id WHERE h.id = p_hold FOR UPDATE OF w;
    IF p_completion_tokens NOT BETWEEN 0 AND most_tokens THEN  -- here: the plan of the next may already convert it
        RETURN;
    END IF;
    UPDATE billing_hold h SET state = 'settled', completion_tokens = p_completion_tokens, closed_at = p_now,
        charged_microcredits = h.prompt_tokens * h.prompt_microcredits_per_token
            + p_completion_tokens * h.completion_microcredits_per_token
        WHERE h.id = p_hold AND h.state = 'active'
            AND NOT EXISTS (SELECT FROM billing_debt d WHERE d.wallet_id = of_wallet AND d.remaining_microcredits > 0)
        RETURNING h.* INTO hold;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    unpaid := hold.charged_microcredits;
    INSERT INTO billing_ledgerentry (wallet_id, kind, amount_microcredits, balance_after_microcredits, idempotency_key,
        inputs_hash, hold_id, reason, created_at)
    VALUES (of_wallet, 'usage', -unpaid, 0, 'usage:' || p_hold,
        encode(sha256(convert_to(format('["%s", "usage", "-%s", "%s"]', of_wallet, unpaid, p_hold), 'UTF8')), 'hex'), p_hold,
        hold.reference, p_now)
    RETURNING id INTO usage_entry;
    FOR spendable IN  -- in the order of GrantQuerySet.in_spending_order
        SELECT g.id, g.remaining_microcredits FROM billing_grant g JOIN billing_ledgerentry e ON e.id = g.entry_id
        WHERE g.wallet_id = of_wallet AND g.remaining_microcredits > 0
        ORDER BY g.expires_at ASC NULLS LAST, e.kind = 'top_up', g.id
    LOOP
        part := LEAST(unpaid, spendable.remaining_microcredits);
        INSERT INTO billing_grantuse (grant_id, entry_id, amount_microcredits)
            VALUES (spendable.id, usage_entry, -part);
        unpaid := unpaid - part;
        EXIT WHEN unpaid = 0;
    END LOOP;  -- what no grant pays, the wall of entries refuses at commit
    SELECT * INTO wallet FROM billing_wallet w WHERE w.id = of_wallet;
    RETURN NEXT;
END $$;
"""

BACKWARD = """
DROP FUNCTION billing_settle_hold(uuid, bigint, timestamptz);
DROP FUNCTION billing_place_hold(bigint, uuid, text, text, bigint, bigint, bigint, bigint, timestamptz, timestamptz);
"""


class Migration(migrations.Migration):
    """See the module."""

    dependencies = [("billing", "0014_fewer_indexes")]
    operations = [migrations.RunSQL(FORWARD, BACKWARD)]
