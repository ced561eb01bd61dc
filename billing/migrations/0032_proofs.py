"""What the proofs of the ledger found, and up to where."""

from django.db import migrations, models


class Migration(migrations.Migration):
    """See the module."""

    dependencies = [("billing", "0031_entries_of_before_have_origins")]
    operations = [
        migrations.CreateModel(
            name="Proof",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("after_entry", models.BigIntegerField(blank=True, null=True)),
                ("last_entry", models.BigIntegerField()),
                ("entries_count", models.BigIntegerField()),
                ("faults_count", models.PositiveIntegerField()),
                ("first_faults", models.JSONField(default=list)),
                ("started_at", models.DateTimeField()),
                ("ended_at", models.DateTimeField(auto_now_add=True)),
            ],
            options={"verbose_name": "proof", "verbose_name_plural": "proofs"},
        ),
        migrations.AddIndex("proof", models.Index(name="billing_proof_started", fields=["-started_at"])),
    ]
