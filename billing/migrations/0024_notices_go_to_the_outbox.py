from django.db import migrations


class Migration(migrations.Migration):
    """Whether a notice was mailed is the outbox's to say: its mail is written together with it."""

    dependencies = [
        ('accounts', '0006_outgoing_mail'),
        ('billing', '0023_key_spending'),
    ]

    operations = [
        migrations.RemoveIndex(
            model_name='notice',
            name='billing_notice_unsent',
        ),
        migrations.RemoveField(
            model_name='notice',
            name='sent_at',
        ),
    ]
