"""The permission to read what a customer wrote, with a reason."""

from django.db import migrations


class Migration(migrations.Migration):
    """See the module."""

    dependencies = [("chat", "0010_marks")]
    operations = [
        migrations.AlterModelOptions(
            "conversation",
            {
                "permissions": [("read_conversation", "Can read what customers wrote, with a reason")],
                "verbose_name": "conversation",
                "verbose_name_plural": "conversations",
            },
        ),
    ]
