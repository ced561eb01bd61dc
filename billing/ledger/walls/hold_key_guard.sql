-- The API key of a hold is one of the customer whose wallet pays, and never changed.
CREATE OR REPLACE FUNCTION billing_hold_key_guard() RETURNS trigger LANGUAGE plpgsql
    SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF TG_OP = 'UPDATE' THEN
        RAISE EXCEPTION 'the key of a hold is never changed' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF NOT EXISTS (SELECT FROM accounts_apikey k JOIN billing_wallet w ON w.user_id = k.user_id
                   WHERE k.id = NEW.api_key_id AND w.id = NEW.wallet_id) THEN
        RAISE EXCEPTION 'a hold is made with a key of its own customer'
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;
DROP TRIGGER IF EXISTS billing_hold_key_of_owner ON billing_hold;
CREATE TRIGGER billing_hold_key_of_owner BEFORE INSERT ON billing_hold
    FOR EACH ROW WHEN (NEW.api_key_id IS NOT NULL) EXECUTE FUNCTION billing_hold_key_guard();
DROP TRIGGER IF EXISTS billing_hold_key_keep ON billing_hold;
CREATE TRIGGER billing_hold_key_keep BEFORE UPDATE ON billing_hold
    FOR EACH ROW WHEN (NEW.api_key_id IS DISTINCT FROM OLD.api_key_id) EXECUTE FUNCTION billing_hold_key_guard();
