"""`manage.py model_memory [--json]`: prints the memory that each model of the catalogue needs, and this machine's."""

import json
from argparse import ArgumentParser
from dataclasses import asdict
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from core.gpus import NoGpu, find_gpus
from inference.catalogue import OFFERS, ModelUnavailable, find_weights
from inference.models import CatalogueModel
from inference.weights.memory import PRECISIONS, PUBLISHED, WORKSPACE_BYTES, Architecture, for_people, read_architecture
from inference.worker.device import read_device_memory


class Command(BaseCommand):
    """Reads only configurations, so it also works for models whose weights are not on this machine."""

    help = "Print what weights and cache of each model need in each precision, and the memory of this machine."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """--json prints JSON, with sizes in bytes."""
        parser.add_argument("--json", action="store_true", help="as JSON, in bytes")

    def handle(self, *_args: Any, **options: Any) -> None:
        report = self._report()
        if options["json"]:
            self.stdout.write(json.dumps(report, indent=2))
        else:
            self._print(report)

    def _report(self) -> dict[str, Any]:
        machine = read_device_memory()
        report: dict[str, Any] = {
            "cache_tokens": settings.INFERENCE_CACHE_TOKENS,
            "workspace_bytes": WORKSPACE_BYTES,
            "budget_bytes": settings.MODEL_MEMORY_BYTES or int(machine.total_bytes * settings.MODEL_MEMORY_SHARE),
            "device": asdict(machine),
            "gpus": [],
            "no_gpu_because": "",
            "models": [self._describe(key, source) for key, source in self._models()],
        }
        try:
            report["gpus"] = [asdict(gpu) for gpu in find_gpus()]
        except NoGpu as error:
            report["no_gpu_because"] = str(error)
        return report

    def _models(self) -> list[tuple[str, str]]:
        """Key and source of each row of the catalogue; before the first prepare_models, of the models in OFFERS."""
        rows = list(CatalogueModel.objects.order_by("position", "key").values_list("key", "source"))
        return rows or [(offer.key, offer.source) for offer in OFFERS]

    def _describe(self, key: str, source: str) -> dict[str, Any]:
        architecture, origin = self._find_architecture(key, source)
        if architecture is None:
            return {"key": key, "source": source, "configuration": origin, "precisions": {}}
        cache_tokens = settings.INFERENCE_CACHE_TOKENS
        return {
            "key": key,
            "source": source,
            "configuration": origin,
            "parameters": architecture.parameters,
            "precisions": {
                precision: {
                    "weight_bytes": architecture.weight_bytes(precision),
                    "cache_bytes_per_token": architecture.cache_bytes(precision, 1),
                    "cache_bytes": architecture.cache_bytes(precision, cache_tokens),
                    "total_bytes": architecture.total_bytes(precision, cache_tokens),
                }
                for precision in PRECISIONS
            },
        }

    def _find_architecture(self, key: str, source: str) -> tuple[Architecture | None, str]:
        """The sizes from the model's folder if it is on this machine, else the published ones; and their origin."""
        try:
            return read_architecture(find_weights(key=key, source=source)), "its folder"
        except (ModelUnavailable, OSError, ValueError, KeyError, TypeError):
            published = PUBLISHED.get(key)
            return published, "published" if published else "unknown: its folder is not here"

    def _print(self, report: dict[str, Any]) -> None:
        self.stdout.write(f"Cache of {report['cache_tokens']:,} tokens in all layers (INFERENCE_CACHE_TOKENS).\n\n")
        self.stdout.write(f"{'model':<16}{'precision':<12}{'weights':>10}{'cache':>10}{'together':>10}  configuration")
        for model in report["models"]:
            for precision, sizes in model["precisions"].items():
                columns = (sizes["weight_bytes"], sizes["cache_bytes"], sizes["total_bytes"])
                self.stdout.write(
                    f"{model['key']:<16}{precision:<12}"
                    + "".join(f"{for_people(size):>10}" for size in columns)
                    + f"  {model['configuration']}"
                )
            if not model["precisions"]:
                self.stdout.write(f"{model['key']:<16}{model['configuration']}")
        self.stdout.write("")
        for gpu in report["gpus"]:
            total, free = for_people(gpu["total_bytes"]), for_people(gpu["free_bytes"])
            self.stdout.write(f"GPU: {gpu['name']}, {total}, {free} free")
        if not report["gpus"]:
            device = report["device"]
            self.stdout.write(f"No NVIDIA GPU here ({report['no_gpu_because']}): models run on the processor.")
            total, free = for_people(device["total_bytes"]), for_people(device["free_bytes"])
            self.stdout.write(f"Memory: {total}, {free} free")
        self.stdout.write(f"Budget of one worker's models: {for_people(report['budget_bytes'])}")
