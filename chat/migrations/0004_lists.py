"""Finds pinned, archived and deleted conversations. Built beside the traffic."""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    """See the module."""

    atomic = False
    dependencies = [("chat", "0003_versions_and_settings")]
    operations = [
        AddIndexConcurrently(
            "conversation",
            models.Index(
                condition=models.Q(pinned_at__isnull=False),
                fields=["user", "-pinned_at"],
                name="chat_conversation_pinned",
            ),
        ),
        AddIndexConcurrently(
            "conversation",
            models.Index(
                condition=models.Q(archived_at__isnull=False),
                fields=["user", "-archived_at", "-id"],
                name="chat_conversation_archived",
            ),
        ),
        AddIndexConcurrently(
            "conversation",
            models.Index(
                condition=models.Q(deleted_at__isnull=False), fields=["deleted_at"], name="chat_conversation_deleted"
            ),
        ),
    ]
