"""The models that Tally ships with, and where the weights of a model are on this machine."""

from dataclasses import dataclass
from pathlib import Path

from django.conf import settings
from django.utils.translation import gettext_lazy as _
from huggingface_hub import snapshot_download
from huggingface_hub.errors import LocalEntryNotFoundError

from billing.ledger.price_changes import set_first_prices
from inference.engine.checkpoint import CheckpointError, read_checkpoint
from inference.models import CatalogueModel, PromptFormat

DEMO_KEY = "gemma-3-270m"
SMALL_DEMO_KEY = "smollm2-135m"


# Customers see this text when a model is unavailable. Only operators see the reason.
NOT_OFFERED = _("This model is not offered here at the moment. Choose another one.")


class ModelUnavailable(Exception):
    """The model cannot be served here. The text tells operators why and what to do; customers read NOT_OFFERED."""


@dataclass(frozen=True, slots=True)
class Offer:
    """The initial settings of a model that Tally ships, with prices in microcredits per token.

    `seed_catalogue` copies them into a database row once. Staff later change that row, not these settings.
    """

    key: str
    name: str
    description: str
    source: str
    context_tokens: int
    max_completion_tokens: int
    prompt_microcredits: int
    completion_microcredits: int
    prompt_format: PromptFormat = PromptFormat.CHAT_TEMPLATE
    is_active: bool = True


# The order is that of the model picker; a new chat begins with the first available model. Operators activate the
# inactive models themselves. Otherwise, setting a token for the Hugging Face hub would already download 55 GB.
OFFERS = (
    Offer("gemma-3-12b", "Gemma 3 12B", "Best answers", "google/gemma-3-12b-it", 131_072, 8_192, 1000, 2000),
    Offer(
        "gemma-3-4b",
        "Gemma 3 4B",
        "Good answers, quickly",
        "google/gemma-3-4b-it",
        131_072,
        8_192,
        300,
        600,
        is_active=False,
    ),
    Offer("gemma-3-1b", "Gemma 3 1B", "Fast and cheap", "google/gemma-3-1b-it", 32_768, 8_192, 100, 200),
    Offer(
        "gemma-3-27b",
        "Gemma 3 27B",
        "For hard questions",
        "google/gemma-3-27b-it",
        131_072,
        8_192,
        2500,
        5000,
        is_active=False,
    ),
    Offer(
        DEMO_KEY,
        "Gemma 3 270M demo",
        "A very small base model, to try Tally out: simple facts, in a few words",
        DEMO_KEY,
        8_192,
        2_048,
        20,
        40,
        PromptFormat.TRANSCRIPT,
    ),
    Offer(
        SMALL_DEMO_KEY,
        "SmolLM2 135M demo",
        "A tiny chat model, to try Tally out: tells stories, often wrong about facts",
        SMALL_DEMO_KEY,
        8_192,
        2_048,
        10,
        20,
    ),
)


def seed_catalogue() -> None:
    """Add a row and a first price for each model that has none. Existing rows stay as staff left them."""
    models = [
        CatalogueModel(
            key=offer.key,
            name=offer.name,
            description=offer.description,
            source=offer.source,
            context_tokens=offer.context_tokens,
            max_completion_tokens=offer.max_completion_tokens,
            prompt_format=offer.prompt_format,
            is_active=offer.is_active,
            position=position,
        )
        for position, offer in enumerate(OFFERS)
    ]
    CatalogueModel.objects.bulk_create(models, ignore_conflicts=True)
    set_first_prices({offer.key: (offer.prompt_microcredits, offer.completion_microcredits) for offer in OFFERS})


def find_weights(*, key: str, source: str) -> Path:
    """The folder with this model's weights: MODEL_DIR/<key>, else the source itself, else the hub's own cache.

    Nothing is downloaded. Raises ModelUnavailable, with the reason, when there is no such folder or its weights cannot
    be served.
    """
    for folder in (settings.MODEL_DIR / key, Path(source).expanduser()):
        if folder.is_dir():
            return _checked(folder)
    try:
        return _checked(Path(snapshot_download(source, local_files_only=True)))
    except (LocalEntryNotFoundError, ValueError, OSError) as error:
        raise ModelUnavailable(
            f"Its weights are not on this machine: put them into MODEL_DIR/{key}, or set HF_TOKEN and run "
            "manage.py prepare_models."
        ) from error


def _checked(folder: Path) -> Path:
    try:
        read_checkpoint(folder)
    except CheckpointError as error:
        raise ModelUnavailable(str(error)) from error
    return folder
