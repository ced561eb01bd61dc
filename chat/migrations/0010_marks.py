from django.db import migrations, models


class Migration(migrations.Migration):
    """The report of marks by model, and the index that it reads."""

    dependencies = [
        ("chat", "0009_shared_links"),
        ("inference", "0010_token_ids"),
    ]

    operations = [
        migrations.CreateModel(
            name="RatedModel",
            fields=[],
            options={
                "verbose_name": "marks of a model",
                "verbose_name_plural": "marks by model",
                "proxy": True,
                "indexes": [],
                "constraints": [],
            },
            bases=("inference.cataloguemodel",),
        ),
        migrations.AddIndex(
            model_name="message",
            index=models.Index(
                condition=models.Q(("rating__isnull", False)), fields=["rating"], name="chat_message_rated"
            ),
        ),
    ]
