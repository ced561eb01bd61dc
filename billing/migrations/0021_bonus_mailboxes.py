"""Which mailboxes had the sign-up bonus, as keyed hashes; those of everybody who had it so far are filled in.

Of accounts that were closed before, nobody knows the address any more. MAILBOX_SECRET, where it is set, must be set
already when this runs: hashes with another key match nothing.
"""

from django.db import migrations, models
from django.db.models import Q

from billing.topups.bonus_mailboxes import hashes_of_bonuses


def keep_mailboxes(apps, _schema_editor):
    addresses = apps.get_model("account", "EmailAddress")._default_manager.all()
    entries = apps.get_model("billing", "LedgerEntry")._default_manager.all()
    kept = apps.get_model("billing", "BonusMailbox")._default_manager
    for hashes in hashes_of_bonuses(addresses, entries):
        kept.bulk_create([kept.model(mailbox_hash=each) for each in hashes], ignore_conflicts=True)


class Migration(migrations.Migration):
    """See the module."""

    dependencies = [
        ("account", "0009_emailaddress_unique_primary_email"),
        ("billing", "0020_two_people"),
    ]
    operations = [
        migrations.CreateModel(
            name="BonusMailbox",
            fields=[("mailbox_hash", models.CharField(max_length=64, primary_key=True, serialize=False))],
            options={
                "verbose_name": "mailbox that had the bonus",
                "verbose_name_plural": "mailboxes that had the bonus",
                "constraints": [
                    models.CheckConstraint(
                        condition=Q(mailbox_hash__regex="^[0-9a-f]{64}$"), name="billing_bonus_mailbox_is_a_hash"
                    ),
                ],
            },
        ),
        migrations.RunPython(keep_mailboxes, migrations.RunPython.noop),
    ]
