from django.db import migrations, models
from django.db.models import Q


class Migration(migrations.Migration):

    dependencies = [
        ('inference', '0003_answer_cache'),
    ]

    operations = [
        # The database fills them in too: processes of the version before go on inserting during a deployment.
        migrations.AddField(
            model_name='generation',
            name='min_p',
            field=models.FloatField(db_default=0.0, default=0.0),
        ),
        migrations.AddField(
            model_name='generation',
            name='repetition_penalty',
            field=models.FloatField(db_default=1.0, default=1.0),
        ),
        migrations.RemoveConstraint(
            model_name='generation',
            name='inference_generation_sampling_within_bounds',
        ),
        migrations.AddConstraint(
            model_name='generation',
            constraint=models.CheckConstraint(
                condition=Q(
                    ('min_p__gte', 0),
                    ('min_p__lt', 1),
                    ('repetition_penalty__gte', 1),
                    ('repetition_penalty__lte', 2.0),
                    ('temperature__gte', 0),
                    ('temperature__lte', 2),
                    ('top_k__gte', 1),
                    ('top_k__lte', 64),
                    ('top_p__gt', 0),
                    ('top_p__lte', 1),
                ),
                name='inference_generation_sampling_within_bounds',
            ),
        ),
    ]
