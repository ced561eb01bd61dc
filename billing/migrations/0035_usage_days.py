"""The sums of used days: see `billing.reporting.usage`."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('billing', '0034_entries_in_chains'),
    ]

    operations = [
        migrations.CreateModel(
            name='UsageMark',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('last_entry', models.BigIntegerField(default=0)),
            ],
            options={
                'constraints': [models.CheckConstraint(condition=models.Q(('pk', 1)), name='billing_usage_mark_is_one_row')],
            },
        ),
        migrations.CreateModel(
            name='UsageDay',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('day', models.DateField()),
                ('model_key', models.SlugField(db_index=False, max_length=64)),
                ('api_key_id', models.BigIntegerField()),
                ('answers_count', models.BigIntegerField()),
                ('prompt_tokens', models.BigIntegerField()),
                ('completion_tokens', models.BigIntegerField()),
                ('charged_microcredits', models.BigIntegerField()),
                ('wallet', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='usage_days', to='billing.wallet')),
            ],
            options={
                'verbose_name': 'usage of a day',
                'verbose_name_plural': 'usage by day',
                'constraints': [models.UniqueConstraint(fields=('wallet', 'day', 'model_key', 'api_key_id'), name='billing_usage_one_row_a_day')],
            },
        ),
    ]
