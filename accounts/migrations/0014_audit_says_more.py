"""Events of the audit log say before, after, why, about what, and from where; each with an index that finds it.

Old events stay as they are: nothing may change them. The indexes take some seconds for each million events.
"""

from django.db import migrations, models


class Migration(migrations.Migration):
    """See the module."""

    dependencies = [("accounts", "0013_confirmed_log_ins")]
    operations = [
        migrations.AddField("auditevent", "before", models.JSONField(db_default={}, default=dict, verbose_name="before")),
        migrations.AddField("auditevent", "after", models.JSONField(db_default={}, default=dict, verbose_name="after")),
        migrations.AddField(
            "auditevent", "reason", models.TextField(blank=True, db_default="", default="", verbose_name="why")
        ),
        migrations.AddField(
            "auditevent",
            "object_name",
            models.CharField(blank=True, db_default="", default="", max_length=120, verbose_name="object"),
        ),
        migrations.AddField(
            "auditevent", "address", models.GenericIPAddressField(blank=True, null=True, verbose_name="address")
        ),
        migrations.AddField(
            "auditevent",
            "request_id",
            models.CharField(blank=True, db_default="", default="", max_length=64, verbose_name="request"),
        ),
        migrations.AddIndex(
            "auditevent", models.Index(fields=["actor", "-created_at"], name="accounts_audit_of_actor")
        ),
        migrations.AddIndex(
            "auditevent", models.Index(fields=["action", "-created_at"], name="accounts_audit_of_kind")
        ),
        migrations.AddIndex(
            "auditevent", models.Index(fields=["-created_at", "-id"], name="accounts_audit_by_time")
        ),
        migrations.AddIndex(
            "auditevent",
            models.Index(
                condition=~models.Q(object_name=""), fields=["object_name"], name="accounts_audit_of_object"
            ),
        ),
        migrations.AddIndex(
            "auditevent",
            models.Index(
                condition=~models.Q(request_id=""), fields=["request_id"], name="accounts_audit_of_request"
            ),
        ),
    ]
