"""Looks whether every answer has a source. It reads all messages, and nobody waits for it."""

from django.contrib.postgres.operations import ValidateConstraint
from django.db import migrations


class Migration(migrations.Migration):
    """See the module."""

    atomic = False
    dependencies = [("chat", "0007_imports")]
    operations = [ValidateConstraint("message", "chat_message_answers_have_a_source")]
