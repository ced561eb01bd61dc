"""The rows that were there keep the rules of 0030 too. Where one does not, this says so and changes nothing."""

from django.contrib.postgres.operations import ValidateConstraint
from django.db import migrations


class Migration(migrations.Migration):
    """See the module."""

    dependencies = [("billing", "0030_entries_have_origins")]
    operations = [
        ValidateConstraint("ledgerentry", "billing_entry_kind_is_known"),
        ValidateConstraint("ledgerentry", "billing_entry_adjustment_has_an_author_and_a_reason"),
        ValidateConstraint("ledgerentry", "billing_entry_refund_names_its_hold_and_why"),
    ]
