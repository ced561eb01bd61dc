"""A log-in through the API knows whether a second factor was given. Those of before log in again to act as staff."""

from django.db import migrations, models


class Migration(migrations.Migration):
    """See the module."""

    dependencies = [("accounts", "0012_archives_and_closing")]
    operations = [
        migrations.AddField(
            model_name="apisession",
            name="is_confirmed",
            field=models.BooleanField(db_default=False, default=False, editable=False),
        ),
    ]
