-- A hold that is there adds its amount to what its wallet holds. Closed without a charge it takes it off again; one with
-- a charge leaves that to its usage entry, which changes the wallet once for both (entry_move).
CREATE OR REPLACE FUNCTION billing_hold_move() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        UPDATE billing_wallet SET held_microcredits = held_microcredits + NEW.amount_microcredits
            WHERE id = NEW.wallet_id;
    ELSIF OLD.state = 'active' AND NEW.state NOT IN ('active', 'settled') THEN
        UPDATE billing_wallet SET held_microcredits = held_microcredits - OLD.amount_microcredits
            WHERE id = OLD.wallet_id;
    END IF;
    RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION billing_hold_move() FROM PUBLIC;  -- or a trigger of another table could call it
DROP TRIGGER IF EXISTS billing_hold_move ON billing_hold;
CREATE TRIGGER billing_hold_move AFTER INSERT OR UPDATE ON billing_hold
    FOR EACH ROW EXECUTE FUNCTION billing_hold_move();
