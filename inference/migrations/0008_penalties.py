"""Frequency and presence penalties, and transcripts whose last line is gone on with."""

from django.contrib.postgres.operations import AddConstraintNotValid, ValidateConstraint
from django.db import migrations, models
from django.db.models import Q

PENALTIES = models.CheckConstraint(
    name="inference_generation_penalties_within_bounds",
    condition=Q(
        frequency_penalty__gte=-2.0,
        frequency_penalty__lte=2.0,
        presence_penalty__gte=-2.0,
        presence_penalty__lte=2.0,
    ),
)


class Migration(migrations.Migration):
    """The database fills the columns in: processes of the version before go on inserting during a deployment."""

    atomic = False  # the table is looked through beside the traffic
    dependencies = [("inference", "0007_deliveries")]
    operations = [
        migrations.AddField("generation", "frequency_penalty", models.FloatField(db_default=0.0, default=0.0)),
        migrations.AddField("generation", "presence_penalty", models.FloatField(db_default=0.0, default=0.0)),
        migrations.AlterField(
            "generation",
            "prompt_format",
            models.CharField(
                blank=True,
                choices=[
                    ("chat_template", "the model's own chat template"),
                    ("transcript", "a transcript, for base models"),
                    ("open_transcript", "a transcript whose last line is gone on with"),
                    ("text", "the text as it stands"),
                ],
                db_default="",
                default="",
                max_length=20,
            ),
        ),
        AddConstraintNotValid("generation", PENALTIES),
        ValidateConstraint("generation", PENALTIES.name),
    ]
