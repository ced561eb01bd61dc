-- The ordinary hold in one call (docs/adr/0024): what billing.ledger does for a wallet that owes nothing, has no credit
-- that is due to expire, and enough for the whole of what is asked. For any other it changes nothing and returns no
-- row. What room a monthly cap leaves (p_room), the caller says who has the wallet locked; without it a wallet with a
-- cap is not ordinary. It runs with the rights of its caller. In READ COMMITTED each statement sees what was committed
-- when it begins: those after the lock see all that was decided before.
CREATE OR REPLACE FUNCTION billing_place_hold(p_user bigint, p_hold uuid, p_reference text, p_model_key text,
    p_prompt_tokens bigint, p_max_completion_tokens bigint, p_api_key bigint, p_room bigint,
    p_now timestamptz, p_expires_at timestamptz) RETURNS SETOF billing_hold LANGUAGE plpgsql
    SET search_path = pg_catalog, public, pg_temp AS $$
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
                        WHERE wallet_id = wallet.id AND NOT is_spent AND expires_at <= p_now) THEN
        RETURN QUERY INSERT INTO billing_hold (id, wallet_id, reference, state, model_key,
            prompt_microcredits_per_token, completion_microcredits_per_token, is_from_cache, prompt_tokens,
            max_completion_tokens, amount_microcredits, api_key_id, created_at, expires_at)
        VALUES (p_hold, wallet.id, p_reference, 'active', p_model_key,
            price.prompt_microcredits_per_token, price.completion_microcredits_per_token, FALSE, p_prompt_tokens,
            p_max_completion_tokens, worst_case, p_api_key, p_now, p_expires_at)
        RETURNING *;
    END IF;
END $$;
