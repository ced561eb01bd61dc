-- A grant is never deleted.
DROP TRIGGER IF EXISTS billing_grant_keep ON billing_grant;
CREATE TRIGGER billing_grant_keep BEFORE DELETE ON billing_grant
    FOR EACH ROW EXECUTE FUNCTION billing_refuse();
