"""Links with which anybody reads a conversation as it was when it was shared."""

import django.contrib.postgres.fields
import django.db.models.deletion
import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):
    """See the module."""

    dependencies = [("chat", "0008_validate_imports")]
    operations = [
        migrations.CreateModel(
            name="SharedLink",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("token", models.CharField(max_length=43, unique=True)),
                ("key", models.UUIDField()),
                ("title", models.CharField(max_length=80)),
                (
                    "message_ids",
                    django.contrib.postgres.fields.ArrayField(base_field=models.BigIntegerField(), size=None),
                ),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ("expires_at", models.DateTimeField(blank=True, null=True)),
                ("revoked_at", models.DateTimeField(blank=True, null=True)),
                (
                    "conversation",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="shared_links", to="chat.conversation"
                    ),
                ),
            ],
            options={
                "verbose_name": "shared link",
                "verbose_name_plural": "shared links",
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("message_ids", []), _negated=True), name="chat_sharedlink_shows_something"
                    ),
                    models.UniqueConstraint(fields=("conversation", "key"), name="chat_sharedlink_once_a_form"),
                ],
            },
        ),
    ]
