"""What left room for fewer tokens than were asked for: the balance, or a monthly cap. The database keeps it.

Every hold of before has none, so the rows that are there need not be tried.
"""

from django.contrib.postgres.operations import AddConstraintNotValid
from django.db import migrations, models
from django.db.models import Q

from billing.ledger import walls

GUARD = walls.read("hold_guard")
BEFORE = GUARD.replace(", NEW.limited_by", "").replace(", OLD.limited_by", "")


class Migration(migrations.Migration):
    """See the module."""

    dependencies = [("billing", "0021_bonus_mailboxes")]
    operations = [
        migrations.AddField(
            model_name="hold",
            name="limited_by",
            field=models.CharField(
                blank=True,
                choices=[
                    ("balance", "your balance"),
                    ("monthly_cap", "your monthly cap"),
                    ("key_cap", "the monthly cap of the API key"),
                ],
                db_default="",
                default="",
                max_length=12,
            ),
        ),
        AddConstraintNotValid(
            "hold",
            models.CheckConstraint(
                condition=Q(limited_by__in=["", "balance", "monthly_cap", "key_cap"]),
                name="billing_hold_limit_exists",
            ),
        ),
        migrations.RunSQL(GUARD, BEFORE),
    ]
