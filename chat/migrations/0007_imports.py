"""Answers may be imported. The new rule holds for new rows at once; 0008 looks at the earlier ones beside the traffic."""

import django.utils.timezone
from django.contrib.postgres.operations import AddConstraintNotValid
from django.db import migrations, models
from django.db.models import Q


class Migration(migrations.Migration):
    """See the module."""

    dependencies = [("chat", "0006_search")]
    operations = [
        migrations.AddField(
            model_name="message",
            name="imported_from",
            field=models.CharField(blank=True, db_default="", max_length=100),
        ),
        migrations.AlterField(
            model_name="message",
            name="created_at",
            field=models.DateTimeField(default=django.utils.timezone.now, editable=False),
        ),
        AddConstraintNotValid(
            "message",
            models.CheckConstraint(
                name="chat_message_answers_have_a_source",
                condition=Q(role="user", generation__isnull=True, imported_from="")
                | Q(role="assistant", generation__isnull=False, imported_from="")
                | Q(role="assistant", generation__isnull=True) & ~Q(imported_from=""),
            ),
        ),
        migrations.RemoveConstraint("message", "chat_message_answers_have_a_generation"),
    ]
