"""For the lists of money in the admin, with each of their filters. Built beside the traffic: a minute a million holds."""

from django.contrib.postgres.operations import AddIndexConcurrently, RemoveIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    """See the module."""

    atomic = False
    dependencies = [
        ('billing', '0040_ledger_days'),
    ]

    operations = [
        AddIndexConcurrently(
            model_name='grant',
            index=models.Index(condition=models.Q(('expires_at__isnull', False)), fields=['expires_at'], name='billing_grant_expires'),
        ),
        AddIndexConcurrently(
            model_name='hold',
            index=models.Index(fields=['-created_at', '-id'], name='billing_hold_latest'),
        ),
        AddIndexConcurrently(
            model_name='ledgerentry',
            index=models.Index(condition=models.Q(('kind', 'usage'), _negated=True), fields=['kind', '-id'], name='billing_entry_of_a_kind'),
        ),
        AddIndexConcurrently(
            model_name='paymentevent',
            index=models.Index(fields=['-received_at', '-id'], name='billing_event_latest'),
        ),
        AddIndexConcurrently(
            model_name='paymentevent',
            index=models.Index(fields=['type', '-received_at'], name='billing_event_of_a_type'),
        ),
        AddIndexConcurrently(
            model_name='paymentevent',
            index=models.Index(fields=['event_id'], name='billing_event_by_its_id'),
        ),
        AddIndexConcurrently(
            model_name='promotioncode',
            index=models.Index(fields=['batch', '-id'], name='billing_code_of_a_batch'),
        ),
        AddIndexConcurrently(
            model_name='refund',
            index=models.Index(fields=['-requested_at', '-id'], name='billing_refund_latest'),
        ),
        AddIndexConcurrently(
            model_name='refund',
            index=models.Index(fields=['state', '-requested_at'], name='billing_refund_of_a_state'),
        ),
        AddIndexConcurrently(
            model_name='topup',
            index=models.Index(fields=['-created_at', '-id'], name='billing_topup_latest'),
        ),
        AddIndexConcurrently(
            model_name='topup',
            index=models.Index(fields=['state', '-created_at'], name='billing_topup_of_a_state'),
        ),
        RemoveIndexConcurrently(
            model_name='hold',
            name='billing_hold_created',
        ),
    ]
