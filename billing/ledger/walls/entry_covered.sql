-- At commit every new entry is covered: by a grant of its amount, or by uses, whose sum grant_use_covered looks at.
CREATE OR REPLACE FUNCTION billing_entry_covered() RETURNS trigger LANGUAGE plpgsql
    SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM billing_grantuse WHERE entry_id = NEW.id)
        AND NOT EXISTS (SELECT FROM billing_grant
                        WHERE entry_id = NEW.id AND amount_microcredits = NEW.amount_microcredits) THEN
        RAISE EXCEPTION 'entry % has no grant and no uses that sum to it', NEW.id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$;
DROP TRIGGER IF EXISTS billing_entry_covered ON billing_ledgerentry;
CREATE CONSTRAINT TRIGGER billing_entry_covered AFTER INSERT ON billing_ledgerentry
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION billing_entry_covered();
