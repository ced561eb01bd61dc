
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('billing', '0008_spending_preferences'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AlterModelOptions(
            name='refund',
            options={'permissions': [('make_refund', 'Can refund answers and payments, and decide on what others ask for'), ('request_refund', 'Can ask for refunds of answers')], 'verbose_name': 'refund', 'verbose_name_plural': 'refunds'},
        ),
        migrations.AlterModelOptions(
            name='wallet',
            options={'permissions': [('adjust_wallet', 'Can adjust the credits of a wallet')], 'verbose_name': 'wallet', 'verbose_name_plural': 'wallets'},
        ),
        migrations.AddField(
            model_name='refund',
            name='next_try_at',
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name='refund',
            name='provider_reference',
            field=models.CharField(blank=True, max_length=255),
        ),
        migrations.AddField(
            model_name='refund',
            name='tries',
            field=models.PositiveSmallIntegerField(default=0),
        ),
        migrations.AddField(
            model_name='topup',
            name='refund_readings',
            field=models.PositiveIntegerField(default=0),
        ),
        migrations.AlterField(
            model_name='refund',
            name='state',
            field=models.CharField(choices=[('waiting', 'waiting for approval'), ('approved', 'approved'), ('done', 'done'), ('failed', 'failed'), ('rejected', 'rejected')], default='waiting', max_length=10),
        ),
        migrations.AddIndex(
            model_name='refund',
            index=models.Index(condition=models.Q(('state', 'approved')), fields=['next_try_at'], name='billing_refund_to_send'),
        ),
        migrations.AddConstraint(
            model_name='refund',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('state', 'failed'), _negated=True), models.Q(('topup__isnull', False), models.Q(('error', ''), _negated=True)), _connector='OR'), name='billing_refund_failed_is_of_a_payment_and_says_why'),
        ),
    ]
