"""The walls of grants, and the grants of what was there before.

- A grant is born whole, from an entry of its wallet with its amount; its remainder changes only through uses.
- A use is never changed. At commit, every entry has its grant, or uses that sum to it: an entry that somebody
  inserts without the ledger's code is refused.
"""

from django.db import migrations
from django.db.migrations.state import StateApps

FORWARD = """
CREATE FUNCTION billing_grant_guard() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        IF NEW.remaining_microcredits <> NEW.amount_microcredits OR NOT EXISTS (
            SELECT FROM billing_ledgerentry e WHERE e.id = NEW.entry_id AND e.wallet_id = NEW.wallet_id
            AND e.amount_microcredits = NEW.amount_microcredits AND e.kind <> 'refund') THEN
            RAISE EXCEPTION 'a grant is born whole, from an entry of its wallet with its amount'
                USING ERRCODE = 'integrity_constraint_violation';
        END IF;
    ELSIF NEW IS DISTINCT FROM OLD AND (pg_trigger_depth() < 2
        OR (NEW.id, NEW.wallet_id, NEW.entry_id, NEW.amount_microcredits, NEW.expires_at)
        IS DISTINCT FROM (OLD.id, OLD.wallet_id, OLD.entry_id, OLD.amount_microcredits, OLD.expires_at)) THEN
        RAISE EXCEPTION 'a grant changes only through its uses' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER billing_grant_guard BEFORE INSERT OR UPDATE ON billing_grant
    FOR EACH ROW EXECUTE FUNCTION billing_grant_guard();
CREATE TRIGGER billing_grant_keep BEFORE DELETE ON billing_grant
    FOR EACH ROW EXECUTE FUNCTION billing_refuse();

CREATE FUNCTION billing_grant_use_move() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE billing_grant g SET remaining_microcredits = remaining_microcredits + NEW.amount_microcredits
        FROM billing_ledgerentry e WHERE g.id = NEW.grant_id AND e.id = NEW.entry_id AND e.wallet_id = g.wallet_id;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'a use joins a grant and an entry of one wallet'
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER billing_grant_use_move BEFORE INSERT ON billing_grantuse
    FOR EACH ROW EXECUTE FUNCTION billing_grant_use_move();
CREATE TRIGGER billing_grant_use_keep BEFORE UPDATE OR DELETE ON billing_grantuse
    FOR EACH ROW EXECUTE FUNCTION billing_refuse();

CREATE FUNCTION billing_check_entry_covered(checked_entry bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF (SELECT amount_microcredits FROM billing_ledgerentry WHERE id = checked_entry) <>
        COALESCE((SELECT amount_microcredits FROM billing_grant WHERE entry_id = checked_entry), 0)
        + COALESCE((SELECT SUM(amount_microcredits) FROM billing_grantuse WHERE entry_id = checked_entry), 0) THEN
        RAISE EXCEPTION 'entry % has no grant and no uses that sum to it', checked_entry
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
END $$;
CREATE FUNCTION billing_entry_covered() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN PERFORM billing_check_entry_covered(NEW.id); RETURN NULL; END $$;
CREATE FUNCTION billing_entry_of_part_covered() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN PERFORM billing_check_entry_covered(NEW.entry_id); RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER billing_entry_covered AFTER INSERT ON billing_ledgerentry
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION billing_entry_covered();
CREATE CONSTRAINT TRIGGER billing_grant_use_covered AFTER INSERT ON billing_grantuse
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION billing_entry_of_part_covered();
"""

BACKWARD = """
DROP TRIGGER billing_grant_use_covered ON billing_grantuse;
DROP TRIGGER billing_entry_covered ON billing_ledgerentry;
DROP TRIGGER billing_grant_use_keep ON billing_grantuse;
DROP TRIGGER billing_grant_use_move ON billing_grantuse;
DROP TRIGGER billing_grant_keep ON billing_grant;
DROP TRIGGER billing_grant_guard ON billing_grant;
DROP FUNCTION billing_entry_of_part_covered();
DROP FUNCTION billing_entry_covered();
DROP FUNCTION billing_check_entry_covered(bigint);
DROP FUNCTION billing_grant_use_move();
DROP FUNCTION billing_grant_guard();
"""


def divide_earlier_entries(apps: StateApps, _schema_editor: object) -> None:
    """Give every earlier credit a grant that never expires, and let every earlier debit use the oldest first."""
    wallet_model, grant_model = apps.get_model("billing", "Wallet"), apps.get_model("billing", "Grant")
    use_model = apps.get_model("billing", "GrantUse")
    for wallet in wallet_model.objects.iterator():
        grants = []
        for entry in wallet.entries.order_by("pk"):
            amount = entry.amount_microcredits
            if amount > 0:
                grants.append(
                    grant_model.objects.create(
                        wallet=wallet, entry=entry, amount_microcredits=amount, remaining_microcredits=amount
                    )
                )
                continue
            for grant in grants:
                part = min(-amount, grant.remaining_microcredits)
                if part:
                    use_model.objects.create(grant=grant, entry=entry, amount_microcredits=-part)
                    grant.remaining_microcredits -= part
                    amount += part


class Migration(migrations.Migration):
    """See the module."""

    dependencies = [("billing", "0003_grants")]
    operations = [
        migrations.RunSQL(FORWARD, BACKWARD),
        migrations.RunPython(divide_earlier_entries, migrations.RunPython.noop),
    ]
