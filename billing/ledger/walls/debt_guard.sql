-- A debt is born whole. What is left of it is written by debt_pay alone (see wallet_guard); nothing else of it is ever
-- changed.
CREATE OR REPLACE FUNCTION billing_debt_guard() RETURNS trigger LANGUAGE plpgsql
    SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        IF NEW.remaining_microcredits <> NEW.amount_microcredits THEN
            RAISE EXCEPTION 'a debt is born whole' USING ERRCODE = 'integrity_constraint_violation';
        END IF;
    ELSIF NEW IS DISTINCT FROM OLD AND (pg_trigger_depth() < 2
        OR NOT has_table_privilege(TG_RELID, 'TRUNCATE')
        OR (NEW.id, NEW.wallet_id, NEW.topup_id, NEW.amount_microcredits, NEW.idempotency_key)
        IS DISTINCT FROM (OLD.id, OLD.wallet_id, OLD.topup_id, OLD.amount_microcredits, OLD.idempotency_key)) THEN
        RAISE EXCEPTION 'a debt changes only through its payments' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;
DROP TRIGGER IF EXISTS billing_debt_guard ON billing_debt;
CREATE TRIGGER billing_debt_guard BEFORE INSERT OR UPDATE ON billing_debt
    FOR EACH ROW EXECUTE FUNCTION billing_debt_guard();
