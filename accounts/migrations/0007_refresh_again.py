"""Which refresh token was exchanged last, so that tabs that exchange it together get one successor."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0006_outgoing_mail"),
    ]

    operations = [
        migrations.AddField(
            model_name="apisession",
            name="previous_refresh_id",
            field=models.CharField(blank=True, db_default="", default="", max_length=32),
        ),
    ]
