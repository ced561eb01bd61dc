"""Keys that are limited to models, and that are rotated: the text before goes on for a while."""

import django.contrib.postgres.fields
from django.db import migrations, models


class Migration(migrations.Migration):
    """The database fills the columns in: processes of the version before go on inserting during a deployment."""

    dependencies = [("accounts", "0008_an_address_has_an_at")]
    operations = [
        migrations.AddField(
            "apikey", "replaced_prefix", models.CharField(max_length=12, unique=True, null=True, blank=True, editable=False)
        ),
        migrations.AddField(
            "apikey", "replaced_hash", models.CharField(max_length=64, blank=True, default="", db_default="", editable=False)
        ),
        migrations.AddField("apikey", "replaced_until", models.DateTimeField(null=True, blank=True, editable=False)),
        migrations.AddField(
            "apikey",
            "allowed_models",
            django.contrib.postgres.fields.ArrayField(
                models.SlugField(max_length=64), default=list, blank=True, db_default=[], size=None
            ),
        ),
    ]
