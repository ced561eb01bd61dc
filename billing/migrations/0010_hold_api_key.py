"""The key that a hold was made with. The database keeps it: of the wallet's owner, and never changed."""

import django.db.models.deletion
from django.db import migrations, models

FORWARD = """
CREATE FUNCTION billing_hold_key_guard() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' THEN
        RAISE EXCEPTION 'the key of a hold is never changed' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF NOT EXISTS (SELECT FROM accounts_apikey k JOIN billing_wallet w ON w.user_id = k.user_id
                   WHERE k.id = NEW.api_key_id AND w.id = NEW.wallet_id) THEN
        RAISE EXCEPTION 'a hold is made with a key of its own customer'
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER billing_hold_key_of_owner BEFORE INSERT ON billing_hold
    FOR EACH ROW WHEN (NEW.api_key_id IS NOT NULL) EXECUTE FUNCTION billing_hold_key_guard();
CREATE TRIGGER billing_hold_key_keep BEFORE UPDATE ON billing_hold
    FOR EACH ROW WHEN (NEW.api_key_id IS DISTINCT FROM OLD.api_key_id) EXECUTE FUNCTION billing_hold_key_guard();
"""

BACKWARD = """
DROP TRIGGER billing_hold_key_keep ON billing_hold;
DROP TRIGGER billing_hold_key_of_owner ON billing_hold;
DROP FUNCTION billing_hold_key_guard();
"""


class Migration(migrations.Migration):
    """See the module."""

    dependencies = [
        ("accounts", "0004_api_access"),
        ("billing", "0009_refunds_may_fail"),
    ]

    operations = [
        migrations.AddField(
            model_name="hold",
            name="api_key",
            field=models.ForeignKey(
                blank=True,
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="accounts.apikey",
            ),
        ),
        migrations.AddIndex(
            model_name="hold",
            index=models.Index(
                condition=models.Q(("api_key__isnull", False)),
                fields=["api_key", "closed_at"],
                name="billing_hold_of_a_key",
            ),
        ),
        migrations.RunSQL(FORWARD, BACKWARD),
    ]
