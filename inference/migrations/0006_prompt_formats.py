from django.db import migrations, models

# As Tally shipped it before: rows that staff have changed since stay as they are.
OLD_DEMO = "A small base model for trying Tally out: its answers ramble"
NEW_DEMO = "A very small base model, to try Tally out: simple facts, in a few words"
OLD_POSITIONS = {"gemma-3-12b": 0, "gemma-3-1b": 1, "gemma-3-270m": 2}
NEW_POSITIONS = {"gemma-3-12b": 0, "gemma-3-1b": 2, "gemma-3-270m": 4}


def prompt_the_demo_as_a_transcript(apps, schema_editor):
    """The bundled Gemma is a base model: it knows no turns. Leave room in the picker for the models that are new."""
    models_ = apps.get_model("inference", "CatalogueModel").objects
    models_.filter(key="gemma-3-270m", source="gemma-3-270m").update(prompt_format="transcript")
    models_.filter(key="gemma-3-270m", description=OLD_DEMO).update(description=NEW_DEMO)
    if dict(models_.values_list("key", "position")) == OLD_POSITIONS:
        for key, position in NEW_POSITIONS.items():
            models_.filter(key=key).update(position=position)


class Migration(migrations.Migration):

    dependencies = [
        ("inference", "0005_fewer_indexes"),
    ]

    operations = [
        # The database fills them in too: processes of the version before go on inserting during a deployment.
        migrations.AddField(
            model_name="cataloguemodel",
            name="prompt_format",
            field=models.CharField(
                choices=[
                    ("chat_template", "the model's own chat template"),
                    ("transcript", "a transcript, for base models"),
                ],
                db_default="chat_template",
                default="chat_template",
                help_text="Instruction-tuned models have a chat template; base models go on with a transcript.",
                max_length=20,
            ),
        ),
        migrations.AddField(
            model_name="generation",
            name="prompt_format",
            field=models.CharField(
                blank=True,
                choices=[
                    ("chat_template", "the model's own chat template"),
                    ("transcript", "a transcript, for base models"),
                    ("text", "the text as it stands"),
                ],
                db_default="",
                default="",
                max_length=20,
            ),
        ),
        migrations.RunPython(prompt_the_demo_as_a_transcript, migrations.RunPython.noop),
        migrations.AddConstraint(
            model_name="cataloguemodel",
            constraint=models.CheckConstraint(
                condition=models.Q(("prompt_format__in", ["chat_template", "transcript"])),
                name="inference_model_prompt_format_is_known",
            ),
        ),
    ]
