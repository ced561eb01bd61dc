"""Finds the entries of a day, and those that are no usage, without reading all of a wallet's. Built beside the traffic."""

from django.contrib.postgres.indexes import BrinIndex
from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    """See the module."""

    atomic = False
    dependencies = [("billing", "0035_usage_days")]
    operations = [
        AddIndexConcurrently(
            "ledgerentry",
            models.Index(fields=["wallet", "-id"], condition=~models.Q(kind="usage"), name="billing_entry_no_usage"),
        ),
        AddIndexConcurrently(
            "ledgerentry", BrinIndex(name="billing_entry_created", fields=["created_at"], autosummarize=True)
        ),
    ]
