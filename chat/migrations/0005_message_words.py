"""The words of every message, for the search. A trigger keeps them from now on; 0006 adds those of earlier messages."""

import django.contrib.postgres.search
import django.db.models.deletion
from django.db import migrations, models

from chat import sql

REMOVE = """
DROP TRIGGER IF EXISTS chat_keep_words ON chat_message;
DROP FUNCTION IF EXISTS chat_keep_words();
DROP FUNCTION IF EXISTS chat_words(bigint, text);
"""


class Migration(migrations.Migration):
    """See the module."""

    dependencies = [("chat", "0004_lists")]
    operations = [
        migrations.CreateModel(
            name="MessageWords",
            fields=[
                (
                    "message",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="+",
                        serialize=False,
                        to="chat.message",
                    ),
                ),
                ("words", django.contrib.postgres.search.SearchVectorField()),
            ],
            options={"verbose_name": "words of a message", "verbose_name_plural": "words of messages"},
        ),
        migrations.RunSQL(sql.read("words", "keep_words"), REMOVE),
    ]
