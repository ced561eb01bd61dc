-- A price is never changed and never deleted: a new one is a new row.
DROP TRIGGER IF EXISTS billing_price_keep ON billing_price;
CREATE TRIGGER billing_price_keep BEFORE UPDATE OR DELETE ON billing_price
    FOR EACH ROW EXECUTE FUNCTION billing_refuse();
