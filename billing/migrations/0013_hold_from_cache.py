"""Which holds are for an answer from the cache, at its prices. The database keeps it: it is never changed."""

from django.db import migrations, models

FORWARD = """
CREATE TRIGGER billing_hold_cache_keep BEFORE UPDATE ON billing_hold
    FOR EACH ROW WHEN (NEW.is_from_cache IS DISTINCT FROM OLD.is_from_cache) EXECUTE FUNCTION billing_refuse();
"""
BACKWARD = "DROP TRIGGER billing_hold_cache_keep ON billing_hold;"


class Migration(migrations.Migration):
    """See the module."""

    dependencies = [("billing", "0012_redemption_key")]

    operations = [
        migrations.AddField(
            model_name="hold",
            name="is_from_cache",
            field=models.BooleanField(default=False),
        ),
        migrations.AddConstraint(
            model_name="hold",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("is_from_cache", False),
                    ("state", "active"),
                    models.Q(("completion_tokens", models.F("max_completion_tokens")), ("state", "settled")),
                    _connector="OR",
                ),
                name="billing_hold_from_cache_is_charged_whole",
            ),
        ),
        migrations.RunSQL(FORWARD, BACKWARD),
    ]
