-- An entry that is there moves the balance of its wallet, to what it says. A usage entry is the charge of its hold, and
-- frees what that held.
CREATE OR REPLACE FUNCTION billing_entry_move() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    balance bigint;
    freed bigint := 0;
BEGIN
    IF NEW.kind = 'usage' THEN
        SELECT h.amount_microcredits INTO freed FROM billing_hold h WHERE h.id = NEW.hold_id
            AND h.wallet_id = NEW.wallet_id AND h.charged_microcredits = -NEW.amount_microcredits;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'a usage entry is the charge of a settled hold of the same wallet'
                USING ERRCODE = 'integrity_constraint_violation';
        END IF;
    END IF;
    UPDATE billing_wallet SET balance_microcredits = balance_microcredits + NEW.amount_microcredits,
            held_microcredits = held_microcredits - freed
        WHERE id = NEW.wallet_id RETURNING balance_microcredits INTO balance;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'no such wallet' USING ERRCODE = 'foreign_key_violation';
    END IF;
    IF balance <> NEW.balance_after_microcredits THEN
        RAISE EXCEPTION 'after entry % the wallet has %, not %', NEW.id, balance, NEW.balance_after_microcredits
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION billing_entry_move() FROM PUBLIC;  -- or a trigger of another table could call it
DROP TRIGGER IF EXISTS billing_entry_move ON billing_ledgerentry;
CREATE TRIGGER billing_entry_move AFTER INSERT ON billing_ledgerentry
    FOR EACH ROW EXECUTE FUNCTION billing_entry_move();
