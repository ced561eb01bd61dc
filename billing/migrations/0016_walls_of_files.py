"""Money moves after the row is there, and the walls are files (docs/adr/0028).

Until here they stood in the migrations that are named below, which put them back when this one is taken back.
"""

from importlib import import_module

from django.db import migrations

from billing.ledger import walls

WALLS = (
    "refuse",  # what the triggers of the others call
    "wallet_guard",
    "wallet_keep",
    "entry_hash",
    "entry_balance_after",
    "entry_move",
    "entry_keep",
    "entry_covered",
    "grant_guard",
    "grant_keep",
    "grant_use_move",
    "grant_use_keep",
    "grant_use_covered",
    "hold_guard",
    "hold_move",
    "hold_keep",
    "hold_key_guard",
    "hold_cache_keep",
    "debt_guard",
    "debt_keep",
    "debt_pay",
    "debt_payment_keep",
    "price_keep",
    "place_hold",
    "settle_hold",
)
EARLIER = (
    "0002_walls",
    "0004_grant_walls",
    "0006_debt_walls",
    "0010_hold_api_key",
    "0013_hold_from_cache",
    "0015_hold_and_settle",
)
REMOVE = """
DO $$
DECLARE
    wall regprocedure;
BEGIN
    DROP TRIGGER IF EXISTS billing_hold_cache_keep ON billing_hold;
    FOR wall IN SELECT oid FROM pg_proc WHERE pronamespace = 'public'::regnamespace AND proname LIKE 'billing\\_%' LOOP
        EXECUTE format('DROP FUNCTION %s CASCADE', wall);  -- with its triggers
    END LOOP;
END $$;
"""
BACKWARD = "\n".join([REMOVE, *(import_module(f"billing.migrations.{name}").FORWARD for name in EARLIER)])


class Migration(migrations.Migration):
    """See the module."""

    dependencies = [("billing", "0015_hold_and_settle")]
    operations = [migrations.RunSQL(walls.read(*WALLS), BACKWARD)]
