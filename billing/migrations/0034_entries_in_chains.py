"""The entries of a wallet form a chain: each has the hash of the one before it and of itself (docs/adr/0036).

The column is the database's own: its trigger writes it, `verify_ledger` reads it, and no model knows it. The entries that
are there get theirs, wallet by wallet, while no new ones are written: a minute for a million.
"""

from django.db import migrations, models

from billing.ledger import walls

COLUMN = """
ALTER TABLE billing_ledgerentry ADD COLUMN chain_hash bytea;
"""
FILL = """
ALTER TABLE billing_ledgerentry DISABLE TRIGGER billing_entry_keep;
DO $$
DECLARE
    entry billing_ledgerentry;
    previous bytea;
    of_wallet bigint;
BEGIN
    FOR entry IN SELECT * FROM billing_ledgerentry ORDER BY wallet_id, id LOOP
        IF of_wallet IS DISTINCT FROM entry.wallet_id THEN
            of_wallet := entry.wallet_id;
            previous := NULL;
        END IF;
        previous := billing_entry_hash(previous, entry);
        UPDATE billing_ledgerentry SET chain_hash = previous WHERE id = entry.id;
    END LOOP;
END $$;
ALTER TABLE billing_ledgerentry ENABLE TRIGGER billing_entry_keep;
"""
BEFORE = """
CREATE OR REPLACE FUNCTION billing_entry_balance_after() RETURNS trigger LANGUAGE plpgsql
    SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    PERFORM FROM billing_wallet WHERE id = NEW.wallet_id FOR UPDATE;
    NEW.id := nextval('billing_ledgerentry_id_seq');
    NEW.balance_after_microcredits := NEW.amount_microcredits + COALESCE(
        (SELECT e.balance_after_microcredits FROM billing_ledgerentry e WHERE e.wallet_id = NEW.wallet_id
         ORDER BY e.id DESC LIMIT 1), 0);
    RETURN NEW;
END $$;
DROP FUNCTION IF EXISTS billing_entry_hash(bytea, billing_ledgerentry);
ALTER TABLE billing_ledgerentry DROP COLUMN chain_hash;
"""


class Migration(migrations.Migration):
    """See the module."""

    dependencies = [("billing", "0033_holds_by_time")]
    operations = [
        migrations.RunSQL("SET CONSTRAINTS ALL IMMEDIATE;" + COLUMN + walls.read("entry_hash", "entry_balance_after") + FILL, BEFORE),
        migrations.AddField(
            "proof", "heads_hash", models.CharField(blank=True, default="", max_length=64)
        ),
    ]
