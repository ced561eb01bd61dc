-- The ordinary settlement in one call (docs/adr/0024): close the hold with its charge, write the usage entry and the
-- uses of the grants that pay. Of a debtor, or when the hold is not active, it changes nothing and returns no row. It
-- runs with the rights of its caller.
CREATE OR REPLACE FUNCTION billing_settle_hold(p_hold uuid, p_completion_tokens bigint, p_now timestamptz)
    RETURNS TABLE (hold billing_hold, wallet billing_wallet) LANGUAGE plpgsql
    SET search_path = pg_catalog, public, pg_temp AS $$
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
        WHERE g.wallet_id = of_wallet AND NOT g.is_spent
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
