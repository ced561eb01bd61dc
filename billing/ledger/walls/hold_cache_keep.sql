-- Whether a hold is for an answer from the cache is never changed.
DROP TRIGGER IF EXISTS billing_hold_cache_keep ON billing_hold;
CREATE TRIGGER billing_hold_cache_keep BEFORE UPDATE ON billing_hold
    FOR EACH ROW WHEN (NEW.is_from_cache IS DISTINCT FROM OLD.is_from_cache) EXECUTE FUNCTION billing_refuse();
