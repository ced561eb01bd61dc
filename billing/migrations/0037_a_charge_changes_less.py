"""A charge takes less of the database (docs/adr/0041).

A grant says whether it is spent in a column of its own: its indexes name that, and what remains may change without them.
The wallet changes once for a charge and what it frees.
"""

import django.db.models.deletion
from django.db import migrations, models

from billing.ledger import walls

WALLS = (
    "wallet_guard",
    "grant_guard",
    "debt_guard",
    "hold_move",
    "entry_move",
    "entry_covered",
    "grant_use_covered",
    "place_hold",
    "settle_hold",
)
MERGED = "DROP FUNCTION IF EXISTS billing_check_entry_covered(bigint);"
# Taken back, the walls stay as strong, and know nothing of the new column.
WITHOUT_COLUMN = (
    walls.read("place_hold", "settle_hold")
    .replace("NOT g.is_spent", "g.remaining_microcredits > 0")
    .replace("NOT is_spent", "remaining_microcredits > 0")
)
UNSPENT = models.Q(is_spent=False)


class Migration(migrations.Migration):
    """See the module."""

    dependencies = [("billing", "0036_latest_entries")]
    operations = [
        # Who moves money locks a wallet first, and then reads grants: whoever waits here holds none of them.
        migrations.RunSQL("LOCK TABLE billing_wallet IN ACCESS EXCLUSIVE MODE", migrations.RunSQL.noop),
        migrations.RemoveIndex("grant", "billing_grant_unspent"),
        migrations.RemoveIndex("grant", "billing_grant_due"),
        migrations.AddField(
            "grant",
            "is_spent",
            models.GeneratedField(
                db_persist=True, expression=models.Q(remaining_microcredits=0), output_field=models.BooleanField()
            ),
        ),
        migrations.AddIndex(
            "grant", models.Index(condition=UNSPENT, fields=["wallet", "expires_at"], name="billing_grant_unspent")
        ),
        migrations.AddIndex("grant", models.Index(condition=UNSPENT, fields=["expires_at"], name="billing_grant_due")),
        migrations.AlterField(
            "grantuse",
            "entry",
            models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="uses",
                to="billing.ledgerentry",
            ),
        ),
        migrations.RunSQL(walls.read(*WALLS) + MERGED, WITHOUT_COLUMN),
    ]
