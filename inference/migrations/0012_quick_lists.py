"""For the list of answers in the admin, with each of its filters. Built beside the traffic."""

from django.conf import settings
from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    """See the module."""

    atomic = False
    dependencies = [
        ('billing', '0041_quick_lists'),
        ('inference', '0011_token_times'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        AddIndexConcurrently(
            model_name='generation',
            index=models.Index(fields=['-created_at', '-id'], name='inference_gen_latest'),
        ),
    ]
