-- At commit every new entry is covered (check_entry_covered).
CREATE OR REPLACE FUNCTION billing_entry_covered() RETURNS trigger LANGUAGE plpgsql
    SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN PERFORM billing_check_entry_covered(NEW.id); RETURN NULL; END $$;
DROP TRIGGER IF EXISTS billing_entry_covered ON billing_ledgerentry;
CREATE CONSTRAINT TRIGGER billing_entry_covered AFTER INSERT ON billing_ledgerentry
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION billing_entry_covered();
