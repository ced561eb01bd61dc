-- At commit the entry of every new use is covered (check_entry_covered): nothing is added to a finished entry.
CREATE OR REPLACE FUNCTION billing_entry_of_part_covered() RETURNS trigger LANGUAGE plpgsql
    SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN PERFORM billing_check_entry_covered(NEW.entry_id); RETURN NULL; END $$;
DROP TRIGGER IF EXISTS billing_grant_use_covered ON billing_grantuse;
CREATE CONSTRAINT TRIGGER billing_grant_use_covered AFTER INSERT ON billing_grantuse
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION billing_entry_of_part_covered();
