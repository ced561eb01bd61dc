-- A payment of a debt is never changed and never deleted.
DROP TRIGGER IF EXISTS billing_debt_payment_keep ON billing_debtpayment;
CREATE TRIGGER billing_debt_payment_keep BEFORE UPDATE OR DELETE ON billing_debtpayment
    FOR EACH ROW EXECUTE FUNCTION billing_refuse();
