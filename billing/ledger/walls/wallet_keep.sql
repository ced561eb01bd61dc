-- A wallet is never deleted.
DROP TRIGGER IF EXISTS billing_wallet_keep ON billing_wallet;
CREATE TRIGGER billing_wallet_keep BEFORE DELETE ON billing_wallet
    FOR EACH ROW EXECUTE FUNCTION billing_refuse();
