-- A debt is never deleted.
DROP TRIGGER IF EXISTS billing_debt_keep ON billing_debt;
CREATE TRIGGER billing_debt_keep BEFORE DELETE ON billing_debt
    FOR EACH ROW EXECUTE FUNCTION billing_refuse();
