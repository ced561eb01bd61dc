"""The walls of the ledger: what the application may not do, the database refuses.

- A wallet is born empty. Its balance changes only when a ledger entry is inserted, its held amount only when a
  hold is opened or closed. A nested trigger has pg_trigger_depth() > 1; a statement of the application has 1.
- A ledger entry is never updated or deleted; a hold leaves `active` once and is never deleted; a price is never
  edited. A row compares old and new, so a harmless save() passes.
- There is no TRUNCATE trigger, since it would break the flush of test databases: production runs the
  application as a role that does not own these tables and may not truncate them.
"""

from django.db import migrations

FORWARD = """
CREATE FUNCTION billing_wallet_guard() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        IF NEW.balance_microcredits <> 0 OR NEW.held_microcredits <> 0 THEN
            RAISE EXCEPTION 'a wallet is born empty' USING ERRCODE = 'integrity_constraint_violation';
        END IF;
    ELSIF pg_trigger_depth() < 2 AND (NEW.balance_microcredits <> OLD.balance_microcredits
                                      OR NEW.held_microcredits <> OLD.held_microcredits) THEN
        RAISE EXCEPTION 'a balance changes only through ledger entries and holds'
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER billing_wallet_guard BEFORE INSERT OR UPDATE ON billing_wallet
    FOR EACH ROW EXECUTE FUNCTION billing_wallet_guard();

CREATE FUNCTION billing_entry_move() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE billing_wallet SET balance_microcredits = balance_microcredits + NEW.amount_microcredits
        WHERE id = NEW.wallet_id RETURNING balance_microcredits INTO NEW.balance_after_microcredits;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'no such wallet' USING ERRCODE = 'foreign_key_violation';
    END IF;
    IF NEW.kind = 'usage' AND NOT EXISTS (SELECT FROM billing_hold h WHERE h.id = NEW.hold_id
            AND h.wallet_id = NEW.wallet_id AND h.charged_microcredits = -NEW.amount_microcredits) THEN
        RAISE EXCEPTION 'a usage entry is the charge of a settled hold of the same wallet'
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER billing_entry_move BEFORE INSERT ON billing_ledgerentry
    FOR EACH ROW EXECUTE FUNCTION billing_entry_move();

CREATE FUNCTION billing_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND NEW IS NOT DISTINCT FROM OLD THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION '% of % is refused', TG_OP, TG_TABLE_NAME USING ERRCODE = 'integrity_constraint_violation';
END $$;
CREATE TRIGGER billing_entry_keep BEFORE UPDATE OR DELETE ON billing_ledgerentry
    FOR EACH ROW EXECUTE FUNCTION billing_refuse();
CREATE TRIGGER billing_price_keep BEFORE UPDATE OR DELETE ON billing_price
    FOR EACH ROW EXECUTE FUNCTION billing_refuse();
CREATE TRIGGER billing_hold_keep BEFORE DELETE ON billing_hold
    FOR EACH ROW EXECUTE FUNCTION billing_refuse();
CREATE TRIGGER billing_wallet_keep BEFORE DELETE ON billing_wallet
    FOR EACH ROW EXECUTE FUNCTION billing_refuse();

CREATE FUNCTION billing_hold_move() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        IF NEW.state <> 'active' THEN
            RAISE EXCEPTION 'a hold is born active' USING ERRCODE = 'integrity_constraint_violation';
        END IF;
        UPDATE billing_wallet SET held_microcredits = held_microcredits + NEW.amount_microcredits
            WHERE id = NEW.wallet_id;
        RETURN NEW;
    END IF;
    IF NEW IS NOT DISTINCT FROM OLD THEN
        RETURN NEW;
    END IF;
    IF OLD.state <> 'active' OR NEW.state = 'active'
        OR (NEW.id, NEW.wallet_id, NEW.reference, NEW.model_key, NEW.prompt_tokens, NEW.max_completion_tokens,
            NEW.prompt_microcredits_per_token, NEW.completion_microcredits_per_token, NEW.amount_microcredits,
            NEW.created_at, NEW.expires_at)
        IS DISTINCT FROM
           (OLD.id, OLD.wallet_id, OLD.reference, OLD.model_key, OLD.prompt_tokens, OLD.max_completion_tokens,
            OLD.prompt_microcredits_per_token, OLD.completion_microcredits_per_token, OLD.amount_microcredits,
            OLD.created_at, OLD.expires_at) THEN
        RAISE EXCEPTION 'a hold is closed once and otherwise never changed'
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    UPDATE billing_wallet SET held_microcredits = held_microcredits - OLD.amount_microcredits
        WHERE id = OLD.wallet_id;
    RETURN NEW;
END $$;
CREATE TRIGGER billing_hold_move BEFORE INSERT OR UPDATE ON billing_hold
    FOR EACH ROW EXECUTE FUNCTION billing_hold_move();
"""

BACKWARD = """
DROP TRIGGER billing_hold_move ON billing_hold;
DROP TRIGGER billing_hold_keep ON billing_hold;
DROP TRIGGER billing_wallet_keep ON billing_wallet;
DROP TRIGGER billing_price_keep ON billing_price;
DROP TRIGGER billing_entry_keep ON billing_ledgerentry;
DROP TRIGGER billing_entry_move ON billing_ledgerentry;
DROP TRIGGER billing_wallet_guard ON billing_wallet;
DROP FUNCTION billing_hold_move();
DROP FUNCTION billing_refuse();
DROP FUNCTION billing_entry_move();
DROP FUNCTION billing_wallet_guard();
"""


class Migration(migrations.Migration):
    """See the module."""

    dependencies = [("billing", "0001_initial")]
    operations = [migrations.RunSQL(FORWARD, BACKWARD)]
