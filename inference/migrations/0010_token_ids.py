"""The prompt's token ids have a field of their own, which PostgreSQL stores as before: nothing changes there."""

from django.db import migrations, models

import inference.models


class Migration(migrations.Migration):
    """Changes the state of the models alone."""

    dependencies = [("inference", "0009_logprobs")]

    operations = [
        migrations.AlterField(
            model_name="generation",
            name="prompt_token_ids",
            field=inference.models.TokenIds(base_field=models.IntegerField(), default=list, size=None),
        ),
    ]
