"""Log probabilities of the tokens of an answer, for those who ask for them."""

from django.contrib.postgres.operations import AddConstraintNotValid, ValidateConstraint
from django.db import migrations, models
from django.db.models import Q

BOUNDS = models.CheckConstraint(
    name="inference_generation_top_logprobs_within_bounds",
    condition=Q(top_logprobs__isnull=True) | Q(top_logprobs__lte=20),
)


class Migration(migrations.Migration):
    """Processes of the version before go on inserting during a deployment: the column may be empty."""

    atomic = False  # the table is looked through beside the traffic
    dependencies = [("inference", "0008_penalties")]
    operations = [
        migrations.AddField(
            "generation",
            "top_logprobs",
            models.PositiveSmallIntegerField(
                blank=True,
                help_text="How many of the likeliest tokens are named; empty: no log probabilities.",
                null=True,
            ),
        ),
        AddConstraintNotValid("generation", BOUNDS),
        ValidateConstraint("generation", BOUNDS.name),
        migrations.CreateModel(
            "AnswerLogprobs",
            [
                (
                    "generation",
                    models.OneToOneField(
                        on_delete=models.deletion.CASCADE,
                        primary_key=True,
                        related_name="kept_logprobs",
                        serialize=False,
                        to="inference.generation",
                    ),
                ),
                ("tokens", models.JSONField()),
            ],
            {"verbose_name_plural": "log probabilities of answers"},
        ),
    ]
