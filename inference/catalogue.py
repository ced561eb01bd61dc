"""Which models there are, and where their weights lie on this machine."""

from dataclasses import dataclass
from pathlib import Path

from django.conf import settings
from huggingface_hub import snapshot_download
from huggingface_hub.errors import LocalEntryNotFoundError

from billing.services import set_first_price
from inference.models import CatalogueModel

DEMO_KEY = "gemma-3-270m"


class ModelUnavailable(Exception):
    """The model cannot be served here; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Offer:
    """A model as Tally ships it; prices in microcredits per token (money.md). Staff change the rows, not this."""

    key: str
    name: str
    description: str
    source: str
    context_tokens: int
    max_completion_tokens: int
    prompt_microcredits: int
    completion_microcredits: int


OFFERS = (
    Offer("gemma-3-12b", "Gemma 3 12B", "Best answers", "google/gemma-3-12b-it", 131_072, 8_192, 1000, 2000),
    Offer("gemma-3-1b", "Gemma 3 1B", "Fast and cheap", "google/gemma-3-1b-it", 32_768, 8_192, 100, 200),
    Offer(
        DEMO_KEY,
        "Gemma 3 270M demo",
        "A small base model for trying Tally out: its answers ramble",
        DEMO_KEY,
        8_192,
        2_048,
        20,
        40,
    ),
)


def seed_catalogue() -> None:
    """Add the models that have no row yet, each with its first price. Rows that are there stay as staff left them."""
    for position, offer in enumerate(OFFERS):
        CatalogueModel.objects.get_or_create(
            key=offer.key,
            defaults={
                "name": offer.name,
                "description": offer.description,
                "source": offer.source,
                "context_tokens": offer.context_tokens,
                "max_completion_tokens": offer.max_completion_tokens,
                "position": position,
            },
        )
        set_first_price(
            model_key=offer.key,
            prompt_microcredits=offer.prompt_microcredits,
            completion_microcredits=offer.completion_microcredits,
        )


def find_weights(*, key: str, source: str) -> Path:
    """The folder with this model's weights: MODEL_DIR/<key>, else the source itself, else the hub's own cache.

    Nothing is downloaded. Raises ModelUnavailable when there is none, or it is not whole.
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
    missing = [name for name in ("config.json", "tokenizer.json") if not (folder / name).is_file()]
    if not missing and not any(folder.glob("*.safetensors")):
        missing = ["*.safetensors"]
    if missing:
        raise ModelUnavailable(f"Its folder is not whole: {', '.join(missing)} missing.")
    return folder
