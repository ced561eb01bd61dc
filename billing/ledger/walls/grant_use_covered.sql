-- At commit the uses of an entry sum to it, less what it gives: nothing is added to a finished entry.
CREATE OR REPLACE FUNCTION billing_entry_of_part_covered() RETURNS trigger LANGUAGE plpgsql
    SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF (SELECT amount_microcredits FROM billing_ledgerentry WHERE id = NEW.entry_id) <>
        COALESCE((SELECT amount_microcredits FROM billing_grant WHERE entry_id = NEW.entry_id), 0)
        + (SELECT SUM(amount_microcredits) FROM billing_grantuse WHERE entry_id = NEW.entry_id) THEN
        RAISE EXCEPTION 'the uses of entry % do not sum to it', NEW.entry_id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$;
DROP TRIGGER IF EXISTS billing_grant_use_covered ON billing_grantuse;
CREATE CONSTRAINT TRIGGER billing_grant_use_covered AFTER INSERT ON billing_grantuse
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION billing_entry_of_part_covered();
