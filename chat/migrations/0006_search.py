"""The words of earlier messages, a thousand messages at a time, and their index. Both are made beside the traffic.

A million messages take some minutes. If it is interrupted, it goes on where it was.
"""

from django.contrib.postgres.indexes import GinIndex
from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations

BATCH = 1000
WRITE = """
WITH batch AS (
    SELECT m.id, m.text, c.user_id FROM chat_message m JOIN chat_conversation c ON c.id = m.conversation_id
    WHERE m.id > %s ORDER BY m.id LIMIT %s
), written AS (
    INSERT INTO chat_messagewords (message_id, words)
        SELECT id, chat_words(user_id, text) FROM batch b WHERE text <> ''
        AND NOT EXISTS (SELECT FROM chat_messagewords w WHERE w.message_id = b.id)
    ON CONFLICT DO NOTHING
)
SELECT max(id) FROM batch
"""


def write_words(_apps, schema_editor):
    """Write the words of all messages that have none yet."""
    last = 0
    with schema_editor.connection.cursor() as cursor:
        while last is not None:
            cursor.execute(WRITE, [last, BATCH])
            [last] = cursor.fetchone()


class Migration(migrations.Migration):
    """See the module."""

    atomic = False
    dependencies = [("chat", "0005_message_words")]
    operations = [
        migrations.RunPython(write_words, migrations.RunPython.noop),
        AddIndexConcurrently("messagewords", GinIndex(fields=["words"], name="chat_messagewords_words")),
    ]
