"""For the list of users in the admin, with each of its filters. Built beside the traffic."""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    """See the module."""

    atomic = False
    dependencies = [
        ('accounts', '0014_audit_says_more'),
        ('auth', '0012_alter_user_first_name_max_length'),
    ]

    operations = [
        AddIndexConcurrently(
            model_name='user',
            index=models.Index(fields=['-date_joined', '-id'], name='accounts_user_latest'),
        ),
        AddIndexConcurrently(
            model_name='user',
            index=models.Index(condition=models.Q(('is_active', False)), fields=['-date_joined', '-id'], name='accounts_user_inactive'),
        ),
        AddIndexConcurrently(
            model_name='user',
            index=models.Index(condition=models.Q(('is_staff', True)), fields=['-date_joined', '-id'], name='accounts_user_staff'),
        ),
        AddIndexConcurrently(
            model_name='user',
            index=models.Index(condition=models.Q(('is_superuser', True)), fields=['-date_joined', '-id'], name='accounts_user_bosses'),
        ),
        AddIndexConcurrently(
            model_name='user',
            index=models.Index(fields=['first_name'], name='accounts_user_first_name', opclasses=['varchar_pattern_ops']),
        ),
        AddIndexConcurrently(
            model_name='user',
            index=models.Index(fields=['last_name'], name='accounts_user_last_name', opclasses=['varchar_pattern_ops']),
        ),
    ]
