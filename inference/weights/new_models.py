"""Adds models to the catalogue and changes them. Reads a model's properties from its files; writes the audit log."""

import shutil
import tempfile
from collections.abc import Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import validate_slug
from django.db import transaction
from django.db.models import Max
from django.utils.translation import gettext as _

from accounts import audit
from accounts.models import User
from billing.ledger.price_changes import set_first_prices
from billing.ledger.prices import current_price_tags
from inference.catalogue import ModelUnavailable
from inference.engine.checkpoint import Checkpoint, CheckpointError, read_checkpoint
from inference.models import CatalogueModel, PromptFormat
from inference.prompting.prompts import check_prompting, check_prompting_of
from inference.weights.downloads import download_description, is_hub_id
from inference.weights.memory import Architecture, read_architecture

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST_COMPLETION_TOKENS = 8_192  # of one answer, unless the operator gives another limit


class ModelRefused(Exception):
    """The model cannot be offered; the text says why and what to do. Nothing was changed."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """An operator's entries for a new model. Values that are left out come from the checkpoint's files."""

    key: str
    source: str
    name: str = ""
    description: str = ""
    context_tokens: int | None = None
    max_completion_tokens: int | None = None
    prompt_format: str = ""


@dataclass(frozen=True, slots=True)
class Prices:
    """In microcredits per token."""

    prompt_microcredits: int
    completion_microcredits: int


@dataclass(frozen=True, slots=True)
class Plan:
    """A model that can be added: its row, which is not saved yet, and what its files say."""

    model: CatalogueModel
    checkpoint: Checkpoint
    architecture: Architecture


def plan_model(wishes: Wishes) -> Plan:
    """Read a model's files from its folder or from the hub, and try its prompts. Writes nothing. Raises ModelRefused.

    A model on the hub may get its weights later.
    """
    _refuse_key(wishes.key)
    with _description_of(wishes) as folder:
        checkpoint, architecture = _read(folder, demands_weights=not is_hub_id(wishes.source))
        model = _row_of(wishes, checkpoint)
        try:
            check_prompting_of(model, checkpoint)
        except ModelUnavailable as error:
            raise ModelRefused(str(error)) from error
    return Plan(model, checkpoint, architecture)


@transaction.atomic
def add_model(*, plan: Plan, prices: Prices | None, by: User | None = None) -> CatalogueModel:
    """Add a planned model to the catalogue. Raises ModelRefused.

    Without prices it stays inactive, since answers could not be charged. Until its weights are on this machine, it is
    unavailable.
    """
    model = plan.model
    model.is_active = prices is not None
    model.unavailable_reason = _why_unavailable(model)
    try:
        model.full_clean()
    except ValidationError as error:
        raise ModelRefused(" ".join(error.messages)) from error
    model.save(force_insert=True)
    if prices is not None:
        if current_price_tags([model.key]):
            raise ModelRefused(_("There are prices for “{key}” already: leave them out.").format(key=model.key))
        set_first_prices({model.key: (prices.prompt_microcredits, prices.completion_microcredits)})
    if by is not None:
        audit.record(actor=by, action="model added", model=model.key, source=model.source)
    return model


@transaction.atomic
def change_model(*, model: CatalogueModel, changed: Mapping[str, Any], by: User) -> None:
    """Save a row that staff changed, and write the audit log.

    `changed` has the new values by field name; `model` has them already.
    """
    if "source" in changed or "prompt_format" in changed:
        model.unavailable_reason = _why_unavailable(model)
    model.save()
    audit.record(actor=by, action="model changed", model=model.key, **changed)


def _read(folder: Path, *, demands_weights: bool) -> tuple[Checkpoint, Architecture]:
    try:
        return read_checkpoint(folder, demands_weights=demands_weights), read_architecture(folder)
    except CheckpointError as error:
        raise ModelRefused(str(error)) from error
    except (KeyError, ValueError, TypeError) as error:
        raise ModelRefused(_("Its config.json does not say how large it is ({what}).").format(what=error)) from error


def _refuse_key(key: str) -> None:
    try:
        validate_slug(key)
    except ValidationError:
        raise ModelRefused(_("A key has letters, digits, hyphens and underscores alone.")) from None
    if len(key) > 64:
        raise ModelRefused(_("A key has at most 64 characters."))
    if CatalogueModel.objects.filter(key=key).exists():
        raise ModelRefused(_("There is a model “{key}” already.").format(key=key))


def _description_of(wishes: Wishes) -> "AbstractContextManager[Path]":
    """A folder with all of a model's files; for a model on the hub, without its weights."""
    for folder in (settings.MODEL_DIR / wishes.key, Path(wishes.source).expanduser()):
        if folder.is_dir():
            return nullcontext(folder)
    if is_hub_id(wishes.source):
        return _from_the_hub(wishes.source)
    raise ModelRefused(
        _("There is no folder {source}, and it is no hub id such as google/gemma-3-1b-it.").format(
            source=wishes.source[:200]
        )
    )


@contextmanager
def _from_the_hub(source: str) -> "Iterator[Path]":
    folder = Path(tempfile.mkdtemp(prefix="tally-model-"))
    try:
        download_description(source, folder)
        yield folder
    except ModelUnavailable as error:
        raise ModelRefused(str(error)) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _row_of(wishes: Wishes, checkpoint: Checkpoint) -> CatalogueModel:
    """The row of the new model, not saved. Raises ModelRefused for wishes that do not fit the checkpoint."""
    context = wishes.context_tokens or checkpoint.context_tokens
    if context > checkpoint.context_tokens:
        raise ModelRefused(
            _("Its context window has {most:,} tokens; {asked:,} were asked for.").format(
                most=checkpoint.context_tokens, asked=context
            )
        )
    completion = wishes.max_completion_tokens or min(MOST_COMPLETION_TOKENS, context // 2)
    if not 0 < completion < context:
        raise ModelRefused(_("An answer has to be shorter than the context window of {n:,} tokens.").format(n=context))
    usual = PromptFormat.CHAT_TEMPLATE if checkpoint.chat_template else PromptFormat.TRANSCRIPT
    last = CatalogueModel.objects.aggregate(last=Max("position"))["last"]
    return CatalogueModel(
        key=wishes.key,
        name=wishes.name or wishes.key,
        description=wishes.description,
        source=wishes.source,
        context_tokens=context,
        max_completion_tokens=completion,
        prompt_format=wishes.prompt_format or usual,
        position=0 if last is None else last + 1,
    )


def _why_unavailable(model: CatalogueModel) -> str:
    """Why the model is unavailable now; an empty text if it is available."""
    try:
        check_prompting(model)
    except ModelUnavailable as error:
        return str(error)[:300]
    return ""
