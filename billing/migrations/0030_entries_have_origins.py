"""An entry is of a known kind, an adjustment has an author and a reason, a refund its hold and a reason.

They hold for new rows at once. The next migration tries the rows that are there, without locking anybody out.
"""

from django.contrib.postgres.operations import AddConstraintNotValid
from django.db import migrations, models
from django.db.models import Q

KINDS = ["top_up", "bonus", "promotion", "usage", "refund", "adjustment", "expiry", "chargeback"]


class Migration(migrations.Migration):
    """See the module."""

    dependencies = [("billing", "0024_notices_go_to_the_outbox")]
    operations = [
        AddConstraintNotValid(
            "ledgerentry", models.CheckConstraint(name="billing_entry_kind_is_known", condition=Q(kind__in=KINDS))
        ),
        AddConstraintNotValid(
            "ledgerentry",
            models.CheckConstraint(
                name="billing_entry_adjustment_has_an_author_and_a_reason",
                condition=~Q(kind="adjustment") | Q(created_by__isnull=False) & ~Q(reason=""),
            ),
        ),
        AddConstraintNotValid(
            "ledgerentry",
            models.CheckConstraint(
                name="billing_entry_refund_names_its_hold_and_why",
                condition=~Q(kind="refund") | Q(hold__isnull=False) & ~Q(reason=""),
            ),
        ),
    ]
