"""The sums of days for reports: see `billing.reporting.ledger_days`."""

from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('billing', '0039_requests_lapse'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='LedgerDay',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('day', models.DateField()),
                ('kind', models.CharField(max_length=12)),
                ('origin', models.CharField(blank=True, max_length=16)),
                ('model_key', models.CharField(blank=True, max_length=64)),
                ('is_from_cache', models.BooleanField(default=False)),
                ('entries_count', models.BigIntegerField()),
                ('amount_microcredits', models.BigIntegerField()),
                ('prompt_tokens', models.BigIntegerField()),
                ('completion_tokens', models.BigIntegerField()),
                ('priced_microcredits', models.BigIntegerField()),
            ],
            options={
                'verbose_name': 'day of the ledger',
                'verbose_name_plural': 'days of the ledger',
            },
        ),
        migrations.CreateModel(
            name='LedgerDaysMark',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('last_entry', models.BigIntegerField(default=0)),
                ('time_zone', models.CharField(max_length=64)),
            ],
        ),
        migrations.AddIndex(
            model_name='topup',
            index=models.Index(condition=models.Q(('paid_at__isnull', False)), fields=['paid_at'], name='billing_topup_paid'),
        ),
        migrations.AddConstraint(
            model_name='ledgerday',
            constraint=models.UniqueConstraint(fields=('day', 'kind', 'origin', 'model_key', 'is_from_cache'), name='billing_ledger_day_one_row'),
        ),
        migrations.AddConstraint(
            model_name='ledgerdaysmark',
            constraint=models.CheckConstraint(condition=models.Q(('pk', 1)), name='billing_ledger_days_mark_is_one_row'),
        ),
    ]
