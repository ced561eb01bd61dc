-- A use of a grant is never changed and never deleted.
DROP TRIGGER IF EXISTS billing_grant_use_keep ON billing_grantuse;
CREATE TRIGGER billing_grant_use_keep BEFORE UPDATE OR DELETE ON billing_grantuse
    FOR EACH ROW EXECUTE FUNCTION billing_refuse();
