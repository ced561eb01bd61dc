-- The hash of an entry: of that of the one before it in its wallet, and of all that it says itself. Whoever changes one or
-- takes one away must write all that follow anew, and the last hash, which leaves the database each day, is another.
CREATE OR REPLACE FUNCTION billing_entry_hash(previous bytea, e billing_ledgerentry) RETURNS bytea LANGUAGE plpgsql
    STABLE SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    RETURN sha256(convert_to(ROW(encode(previous, 'hex'), e.wallet_id, e.id, e.kind, e.amount_microcredits,
        e.balance_after_microcredits, e.idempotency_key, e.inputs_hash, e.hold_id, e.reason, e.created_by_id,
        (EXTRACT(EPOCH FROM e.created_at) * 1000000)::bigint)::text, 'UTF8'));
END $$;
