"""The permissions of the reports, which have no table."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('monitoring', '0002_samples'),
    ]

    operations = [
        migrations.CreateModel(
            name='Report',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
            ],
            options={
                'permissions': [('view_revenue_report', 'Can see the report of revenue'), ('view_usage_report', 'Can see the report of usage'), ('view_models_report', 'Can see the report of models'), ('view_performance_report', 'Can see the report of performance'), ('view_incidents_report', 'Can see the report of incidents')],
                'managed': False,
                'default_permissions': (),
            },
        ),
    ]
