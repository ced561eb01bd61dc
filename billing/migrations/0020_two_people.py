"""Adjustments that wait for a second person; who made and who approved a promotion code; a package's bonus.

The bonus of packages that are there is not tried: whoever saves one is told.
"""

import uuid

import django.db.models.deletion
from django.conf import settings
from django.contrib.postgres.operations import AddConstraintNotValid
from django.db import migrations, models
from django.db.models import F, Q


def person(*, null=True, **options):
    return models.ForeignKey(
        blank=null,
        null=null,
        on_delete=django.db.models.deletion.PROTECT,
        related_name="+",
        to=settings.AUTH_USER_MODEL,
        **options,
    )


class Migration(migrations.Migration):
    """See the module."""

    dependencies = [
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
        ("billing", "0016_walls_of_files"),
    ]
    operations = [
        migrations.CreateModel(
            name="Adjustment",
            fields=[
                ("id", models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ("amount_microcredits", models.BigIntegerField()),
                ("reason", models.CharField(max_length=200)),
                (
                    "state",
                    models.CharField(
                        choices=[("waiting", "waiting for approval"), ("done", "done"), ("rejected", "rejected")],
                        default="waiting",
                        max_length=10,
                    ),
                ),
                ("idempotency_key", models.CharField(max_length=200, unique=True)),
                ("requested_at", models.DateTimeField(auto_now_add=True)),
                ("decided_at", models.DateTimeField(blank=True, null=True)),
                ("decided_by", person()),
                (
                    "entry",
                    models.OneToOneField(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="adjustment",
                        to="billing.ledgerentry",
                    ),
                ),
                ("requested_by", person(null=False)),
                (
                    "wallet",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="adjustments", to="billing.wallet"
                    ),
                ),
            ],
            options={
                "verbose_name": "adjustment",
                "verbose_name_plural": "adjustments",
                "constraints": [
                    models.CheckConstraint(
                        condition=~Q(amount_microcredits=0) & ~Q(reason=""),
                        name="billing_adjustment_has_an_amount_and_a_reason",
                    ),
                    models.CheckConstraint(
                        condition=Q(state="waiting", decided_by__isnull=True, decided_at__isnull=True)
                        | ~Q(state="waiting") & Q(decided_by__isnull=False, decided_at__isnull=False),
                        name="billing_adjustment_decided_unless_waiting",
                    ),
                    models.CheckConstraint(
                        condition=Q(state="done", entry__isnull=False) | ~Q(state="done") & Q(entry__isnull=True),
                        name="billing_adjustment_done_has_its_entry",
                    ),
                ],
            },
        ),
        migrations.AddField("promotioncode", "created_by", person(editable=False)),
        migrations.AddField("promotioncode", "approved_by", person(editable=False)),
        migrations.AddField(
            "promotioncode",
            "is_waiting",
            models.BooleanField(default=False, editable=False, verbose_name="waiting for approval"),
        ),
        migrations.AddConstraint(
            "promotioncode",
            models.CheckConstraint(
                condition=Q(approved_by__isnull=True) | Q(is_waiting=False) & ~Q(approved_by=F("created_by")),
                name="billing_code_is_approved_by_another",
            ),
        ),
        migrations.AddIndex("refund", models.Index(fields=["decided_at"], name="billing_refund_decided")),
        AddConstraintNotValid(
            "package",
            models.CheckConstraint(
                condition=Q(bonus_microcredits__lte=F("credits_microcredits")),
                name="billing_package_bonus_within_its_credits",
            ),
        ),
    ]
