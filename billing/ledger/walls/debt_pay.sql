-- A payment that is there takes its amount off its debt.
CREATE OR REPLACE FUNCTION billing_debt_pay() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    UPDATE billing_debt SET remaining_microcredits = remaining_microcredits - NEW.amount_microcredits
        WHERE id = NEW.debt_id;
    RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION billing_debt_pay() FROM PUBLIC;  -- or a trigger of another table could call it
DROP TRIGGER IF EXISTS billing_debt_pay ON billing_debtpayment;
CREATE TRIGGER billing_debt_pay AFTER INSERT ON billing_debtpayment
    FOR EACH ROW EXECUTE FUNCTION billing_debt_pay();
