"""For the list of conversations in the admin, with each of its filters. Built beside the traffic."""

from django.conf import settings
from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    """See the module."""

    atomic = False
    dependencies = [
        ('chat', '0011_read_conversation'),
        ('inference', '0012_quick_lists'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        AddIndexConcurrently(
            model_name='conversation',
            index=models.Index(fields=['-created_at', '-id'], name='chat_conversation_latest'),
        ),
        AddIndexConcurrently(
            model_name='conversation',
            index=models.Index(fields=['model', '-created_at'], name='chat_conversation_of_a_model'),
        ),
    ]
