"""The walls of debts: born whole, changed only by payments, which are never changed."""

from django.db import migrations

FORWARD = """
CREATE FUNCTION billing_debt_guard() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        IF NEW.remaining_microcredits <> NEW.amount_microcredits THEN
            RAISE EXCEPTION 'a debt is born whole' USING ERRCODE = 'integrity_constraint_violation';
        END IF;
    ELSIF NEW IS DISTINCT FROM OLD AND (pg_trigger_depth() < 2
        OR (NEW.id, NEW.wallet_id, NEW.topup_id, NEW.amount_microcredits, NEW.idempotency_key)
        IS DISTINCT FROM (OLD.id, OLD.wallet_id, OLD.topup_id, OLD.amount_microcredits, OLD.idempotency_key)) THEN
        RAISE EXCEPTION 'a debt changes only through its payments' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER billing_debt_guard BEFORE INSERT OR UPDATE ON billing_debt
    FOR EACH ROW EXECUTE FUNCTION billing_debt_guard();
CREATE TRIGGER billing_debt_keep BEFORE DELETE ON billing_debt
    FOR EACH ROW EXECUTE FUNCTION billing_refuse();

CREATE FUNCTION billing_debt_pay() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE billing_debt SET remaining_microcredits = remaining_microcredits - NEW.amount_microcredits
        WHERE id = NEW.debt_id;
    RETURN NEW;
END $$;
CREATE TRIGGER billing_debt_pay BEFORE INSERT ON billing_debtpayment
    FOR EACH ROW EXECUTE FUNCTION billing_debt_pay();
CREATE TRIGGER billing_debt_payment_keep BEFORE UPDATE OR DELETE ON billing_debtpayment
    FOR EACH ROW EXECUTE FUNCTION billing_refuse();
"""

BACKWARD = """
DROP TRIGGER billing_debt_payment_keep ON billing_debtpayment;
DROP TRIGGER billing_debt_pay ON billing_debtpayment;
DROP TRIGGER billing_debt_keep ON billing_debt;
DROP TRIGGER billing_debt_guard ON billing_debt;
DROP FUNCTION billing_debt_pay();
DROP FUNCTION billing_debt_guard();
"""


class Migration(migrations.Migration):
    """See the module."""

    dependencies = [("billing", "0005_topups")]
    operations = [migrations.RunSQL(FORWARD, BACKWARD)]
