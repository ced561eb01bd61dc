-- A wallet is born empty. Afterwards its amounts are written by the functions of the walls alone: they run with the
-- rights of the owner of the table, inside a trigger. A trigger of somebody else's runs with that person's rights. Who
-- may empty the table is its owner: asking that takes no look into the catalogue.
CREATE OR REPLACE FUNCTION billing_wallet_guard() RETURNS trigger LANGUAGE plpgsql
    SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        IF NEW.balance_microcredits <> 0 OR NEW.held_microcredits <> 0 THEN
            RAISE EXCEPTION 'a wallet is born empty' USING ERRCODE = 'integrity_constraint_violation';
        END IF;
    ELSIF (NEW.balance_microcredits <> OLD.balance_microcredits OR NEW.held_microcredits <> OLD.held_microcredits)
        AND (pg_trigger_depth() < 2
             OR NOT has_table_privilege(TG_RELID, 'TRUNCATE')) THEN
        RAISE EXCEPTION 'a balance changes only through ledger entries and holds'
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;
DROP TRIGGER IF EXISTS billing_wallet_guard ON billing_wallet;
CREATE TRIGGER billing_wallet_guard BEFORE INSERT OR UPDATE ON billing_wallet
    FOR EACH ROW EXECUTE FUNCTION billing_wallet_guard();
