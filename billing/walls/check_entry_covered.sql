-- An entry is its grant, or the sum of its uses of grants.
CREATE OR REPLACE FUNCTION billing_check_entry_covered(checked_entry bigint) RETURNS void LANGUAGE plpgsql
    SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF (SELECT amount_microcredits FROM billing_ledgerentry WHERE id = checked_entry) <>
        COALESCE((SELECT amount_microcredits FROM billing_grant WHERE entry_id = checked_entry), 0)
        + COALESCE((SELECT SUM(amount_microcredits) FROM billing_grantuse WHERE entry_id = checked_entry), 0) THEN
        RAISE EXCEPTION 'entry % has no grant and no uses that sum to it', checked_entry
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
END $$;
