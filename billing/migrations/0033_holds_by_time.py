"""Finds the holds of an hour without reading all of them. Built beside the traffic."""

from django.contrib.postgres.indexes import BrinIndex
from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations


class Migration(migrations.Migration):
    """See the module."""

    atomic = False
    dependencies = [("billing", "0032_proofs")]
    operations = [
        AddIndexConcurrently(
            "hold", BrinIndex(name="billing_hold_created", fields=["created_at"], autosummarize=True)
        ),
    ]
