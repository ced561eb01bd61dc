-- A hold is born active and closed once. Nothing else of it is ever changed; an UPDATE that changes nothing passes.
CREATE OR REPLACE FUNCTION billing_hold_guard() RETURNS trigger LANGUAGE plpgsql
    SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        IF NEW.state <> 'active' THEN
            RAISE EXCEPTION 'a hold is born active' USING ERRCODE = 'integrity_constraint_violation';
        END IF;
    ELSIF NEW IS DISTINCT FROM OLD AND (OLD.state <> 'active' OR NEW.state = 'active'
        OR (NEW.id, NEW.wallet_id, NEW.reference, NEW.model_key, NEW.prompt_tokens, NEW.max_completion_tokens,
            NEW.prompt_microcredits_per_token, NEW.completion_microcredits_per_token, NEW.amount_microcredits,
            NEW.created_at, NEW.expires_at, NEW.limited_by)
        IS DISTINCT FROM
           (OLD.id, OLD.wallet_id, OLD.reference, OLD.model_key, OLD.prompt_tokens, OLD.max_completion_tokens,
            OLD.prompt_microcredits_per_token, OLD.completion_microcredits_per_token, OLD.amount_microcredits,
            OLD.created_at, OLD.expires_at, OLD.limited_by)) THEN
        RAISE EXCEPTION 'a hold is closed once and otherwise never changed'
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;
DROP TRIGGER IF EXISTS billing_hold_guard ON billing_hold;
CREATE TRIGGER billing_hold_guard BEFORE INSERT OR UPDATE ON billing_hold
    FOR EACH ROW EXECUTE FUNCTION billing_hold_guard();
