"""A user's address has an @. Rows from before are not looked at: one without would stop the migration."""

from django.contrib.postgres.operations import AddConstraintNotValid
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0007_refresh_again"),
    ]

    operations = [
        AddConstraintNotValid(
            model_name="user",
            constraint=models.CheckConstraint(
                name="accounts_user_email_has_an_at",
                condition=models.Q(("email__regex", "^[^@]+@[^@]+$")),
            ),
        ),
    ]
