"""`manage.py prepare_models [KEY...]`: fills the catalogue and gets the models' weights.

Run it at every deploy; startup.py runs it too.
"""

import os
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from inference.catalogue import ModelUnavailable, find_weights, seed_catalogue
from inference.models import CatalogueModel
from inference.prompting.prompts import check_prompting
from inference.weights.demo_models import bring_up_to_date, convert_demo_model, is_bundled
from inference.weights.downloads import download_weights, is_hub_id


class Command(BaseCommand):
    """Seeds the catalogue, downloads or converts missing weights, and notes why a model stays unavailable."""

    help = (
        "Seed the catalogue, convert the demo models, download hub models when HF_TOKEN is set. "
        "With keys, ends with status 1 when one of those models is not ready."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """The keys of the models to prepare; none for all active ones."""
        parser.add_argument("keys", nargs="*", metavar="KEY", help="prepare these models alone, active or not")

    def handle(self, *_args: Any, **options: Any) -> None:
        """Prepare each model. If one fails, the others are still prepared."""
        seed_catalogue()
        keys: list[str] = options["keys"]
        models = {model.key: model for model in CatalogueModel.objects.order_by("-position")}
        unknown = [key for key in keys if key not in models]
        if unknown:
            raise CommandError(f"No such model: {', '.join(unknown)}. There are: {', '.join(models)}.")
        active = [key for key, model in models.items() if model.is_active]
        reasons = {key: self._prepare(models[key]) for key in keys or active}
        if keys and any(reasons.values()):
            raise CommandError("Not every model is ready.")

    def _prepare(self, model: CatalogueModel) -> str:
        """Make one model ready and update its row. Returns the reason if it is unavailable, else an empty text."""
        try:
            self._fetch(model)
            check_prompting(model)
            reason = ""
        except ModelUnavailable as error:
            reason = str(error)[:300]
        CatalogueModel.objects.filter(pk=model.pk).update(unavailable_reason=reason)
        self._say(f"{model.key}: {reason or 'ready'}")
        return reason

    def _fetch(self, model: CatalogueModel) -> None:
        token = os.environ.get("HF_TOKEN")
        try:
            folder = find_weights(key=model.key, source=model.source)
            if is_bundled(model.key):
                bring_up_to_date(model.key, folder)
        except ModelUnavailable:
            if is_bundled(model.key):
                self._convert(model.key)
            elif token and is_hub_id(model.source):
                download_weights(key=model.key, source=model.source, token=token, say=self._say)
            else:
                raise
            find_weights(key=model.key, source=model.source)

    def _convert(self, key: str) -> None:
        try:
            convert_demo_model(key, settings.MODEL_DIR / key, self._say)
        except (ImportError, OSError, ValueError) as error:
            raise ModelUnavailable(f"Its package is not whole ({type(error).__name__}): install it again.") from error

    def _say(self, text: str) -> None:
        self.stdout.write(text)
        self.stdout.flush()
