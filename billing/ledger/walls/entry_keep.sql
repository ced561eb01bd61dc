-- An entry is never changed and never deleted.
DROP TRIGGER IF EXISTS billing_entry_keep ON billing_ledgerentry;
CREATE TRIGGER billing_entry_keep BEFORE UPDATE OR DELETE ON billing_ledgerentry
    FOR EACH ROW EXECUTE FUNCTION billing_refuse();
