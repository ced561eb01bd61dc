-- A use that is there takes its part from its grant, or gives it back. Grant and entry are of one wallet.
CREATE OR REPLACE FUNCTION billing_grant_use_move() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    UPDATE billing_grant g SET remaining_microcredits = remaining_microcredits + NEW.amount_microcredits
        FROM billing_ledgerentry e WHERE g.id = NEW.grant_id AND e.id = NEW.entry_id AND e.wallet_id = g.wallet_id;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'a use joins a grant and an entry of one wallet'
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION billing_grant_use_move() FROM PUBLIC;  -- or a trigger of another table could call it
DROP TRIGGER IF EXISTS billing_grant_use_move ON billing_grantuse;
CREATE TRIGGER billing_grant_use_move AFTER INSERT ON billing_grantuse
    FOR EACH ROW EXECUTE FUNCTION billing_grant_use_move();
