-- A grant is born whole, from an entry of its wallet with its amount. What is left of it is written by grant_use_move
-- alone (see wallet_guard); nothing else of it is ever changed.
CREATE OR REPLACE FUNCTION billing_grant_guard() RETURNS trigger LANGUAGE plpgsql
    SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        IF NEW.remaining_microcredits <> NEW.amount_microcredits OR NOT EXISTS (
            SELECT FROM billing_ledgerentry e WHERE e.id = NEW.entry_id AND e.wallet_id = NEW.wallet_id
            AND e.amount_microcredits = NEW.amount_microcredits AND e.kind <> 'refund') THEN
            RAISE EXCEPTION 'a grant is born whole, from an entry of its wallet with its amount'
                USING ERRCODE = 'integrity_constraint_violation';
        END IF;
    ELSIF (NEW.remaining_microcredits <> OLD.remaining_microcredits
            AND (pg_trigger_depth() < 2 OR NOT has_table_privilege(TG_RELID, 'TRUNCATE')))
        OR (NEW.id, NEW.wallet_id, NEW.entry_id, NEW.amount_microcredits, NEW.expires_at)
        IS DISTINCT FROM (OLD.id, OLD.wallet_id, OLD.entry_id, OLD.amount_microcredits, OLD.expires_at) THEN
        RAISE EXCEPTION 'a grant changes only through its uses' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;
DROP TRIGGER IF EXISTS billing_grant_guard ON billing_grant;
CREATE TRIGGER billing_grant_guard BEFORE INSERT OR UPDATE ON billing_grant
    FOR EACH ROW EXECUTE FUNCTION billing_grant_guard();
