-- A hold is never deleted.
DROP TRIGGER IF EXISTS billing_hold_keep ON billing_hold;
CREATE TRIGGER billing_hold_keep BEFORE DELETE ON billing_hold
    FOR EACH ROW EXECUTE FUNCTION billing_refuse();
