"""`manage.py add_model KEY SOURCE --prompt-price … --completion-price …`: adds a model to the catalogue."""

import os
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from billing.ledger.prices import InvalidPrice, parse_price
from inference.catalogue import ModelUnavailable
from inference.models import CatalogueModel, PromptFormat
from inference.weights.downloads import download_weights, is_hub_id
from inference.weights.memory import PRECISIONS, for_people
from inference.weights.new_models import ModelRefused, Plan, Prices, Wishes, add_model, plan_model


class Command(BaseCommand):
    """Reads a model's properties from its files and adds it. A model that cannot be served changes nothing."""

    help = (
        "Add a model to the catalogue, from a folder or a hub id. Prices are in credits for 1,000 tokens; without "
        "them the model stays inactive until staff add a price version and activate it."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """The operator's entries; all other values come from the model's files."""
        parser.add_argument("key", help="what customers call it, such as qwen3-8b")
        parser.add_argument("source", help="a folder, or a hub id such as Qwen/Qwen3-8B")
        parser.add_argument("--prompt-price", metavar="CREDITS", help="for 1,000 prompt tokens")
        parser.add_argument("--completion-price", metavar="CREDITS", help="for 1,000 completion tokens")
        parser.add_argument("--name", default="", help="shown to customers (default: the key)")
        parser.add_argument("--description", default="", help="one line, shown to customers")
        parser.add_argument("--context-tokens", type=int, help="at most the model's own (the default)")
        parser.add_argument("--max-completion-tokens", type=int, help="of one answer")
        parser.add_argument(
            "--transcript", action="store_true", help="prompt it as a base model, even if it has a chat template"
        )

    def handle(self, *_args: Any, **options: Any) -> None:
        """Add the model, print its properties, and download it if it is on the hub. Exit status 1 if it is refused."""
        wishes = Wishes(
            key=options["key"],
            source=options["source"],
            name=options["name"],
            description=options["description"],
            context_tokens=options["context_tokens"],
            max_completion_tokens=options["max_completion_tokens"],
            prompt_format=PromptFormat.TRANSCRIPT if options["transcript"] else "",
        )
        prices = self._prices(options)
        try:
            plan = plan_model(wishes)
            model = add_model(plan=plan, prices=prices)
        except ModelRefused as error:
            raise CommandError(f"{wishes.key} was not added. {error}") from error
        self._describe(plan)
        if is_hub_id(model.source) and model.unavailable_reason:
            self._download(model)
        self.stdout.write(f"{model.key}: {model.unavailable_reason or 'ready'}")

    def _prices(self, options: dict[str, Any]) -> Prices | None:
        given = [options["prompt_price"], options["completion_price"]]
        if given == [None, None]:
            return None
        if None in given:
            raise CommandError("Give both prices or none.")
        try:
            return Prices(*map(parse_price, given))
        except InvalidPrice as error:
            raise CommandError(str(error)) from error

    def _describe(self, plan: Plan) -> None:
        model, checkpoint = plan.model, plan.checkpoint
        stop = ", ".join(map(str, checkpoint.stop_token_ids))
        self.stdout.write(f"{model.key}: {checkpoint.model_type}, {plan.architecture.parameters:,} parameters")
        self.stdout.write(f"  context {model.context_tokens:,} tokens, answers up to {model.max_completion_tokens:,}")
        self.stdout.write(f"  prompted with {model.get_prompt_format_display()}; stop tokens {stop}")
        cache = settings.INFERENCE_CACHE_TOKENS
        sizes = (f"{each} {for_people(plan.architecture.total_bytes(each, cache))}" for each in PRECISIONS)
        self.stdout.write(f"  memory with a cache of {cache:,} tokens: {', '.join(sizes)}")
        if not model.is_active:
            self.stdout.write("  inactive: it has no price yet. Add a price version in the admin, then activate it.")

    def _download(self, model: CatalogueModel) -> None:
        """Download the weights. If that fails, the row stays, with the reason; `prepare_models` can continue later."""
        try:
            download_weights(
                key=model.key, source=model.source, token=os.environ.get("HF_TOKEN"), say=self.stdout.write
            )
            model.unavailable_reason = ""
        except ModelUnavailable as error:
            model.unavailable_reason = str(error)[:300]
        model.save(update_fields=["unavailable_reason"])
