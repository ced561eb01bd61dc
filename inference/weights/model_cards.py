"""Describes models to API clients: OpenAI's members of a model, followed by those of OpenRouter's `/models`."""

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from django.conf import settings

from billing.ledger.prices import PriceTag, current_price_tags, price_in_money
from inference.catalogue import ModelUnavailable
from inference.models import CatalogueModel
from inference.prompting.prompts import sampling_defaults
from inference.weights.downloads import is_hub_id

SUPPORTED_PARAMETERS = (
    "max_tokens",
    "max_completion_tokens",
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "repetition_penalty",
    "frequency_penalty",
    "presence_penalty",
    "seed",
    "stop",
    "logprobs",
    "top_logprobs",
)


def describe_models(models: Iterable[CatalogueModel]) -> list[dict[str, Any]]:
    """The description of each model, with its current prices. One query for all prices."""
    listed = list(models)
    tags = current_price_tags([model.key for model in listed])
    return [_describe(model, tags.get(model.key)) for model in listed]


def describe_sampling(model: CatalogueModel) -> dict[str, Any] | None:
    """The model's default sampling parameters; None while its files are not on this machine."""
    try:
        defaults = asdict(sampling_defaults(model))
    except ModelUnavailable:
        return None
    return {
        "temperature": defaults["temperature"],
        "top_p": defaults["top_p"],
        "top_k": defaults["top_k"],
        "min_p": 0.0,
        "repetition_penalty": defaults["repetition_penalty"],
    }


def _describe(model: CatalogueModel, tag: PriceTag | None) -> dict[str, Any]:
    return {
        "id": model.key,
        "object": "model",
        "created": int(model.created_at.timestamp()),
        "owned_by": model.source.partition("/")[0] if is_hub_id(model.source) else "tally",
        "name": model.name,
        "description": model.description,
        "context_length": model.context_tokens,
        "context_window": model.context_tokens,
        "max_completion_tokens": model.max_completion_tokens,
        "architecture": {
            "modality": "text->text",
            "input_modalities": ["text"],
            "output_modalities": ["text"],
            "prompt_format": model.prompt_format,
        },
        "pricing": None if tag is None else _pricing(tag),
        "top_provider": {
            "context_length": model.context_tokens,
            "max_completion_tokens": model.max_completion_tokens,
            "is_moderated": False,
        },
        "supported_parameters": list(SUPPORTED_PARAMETERS),
        "default_parameters": describe_sampling(model),
    }


def _pricing(tag: PriceTag) -> dict[str, Any]:
    """Prices per token: in money, as OpenRouter writes them, and in microcredits, the unit of charges."""
    prompt, completion = tag.prompt_microcredits_per_token, tag.completion_microcredits_per_token
    cached = tag.from_cache()
    return {
        "currency": settings.TOPUP_CURRENCY,
        "prompt": price_in_money(prompt),
        "completion": price_in_money(completion),
        "prompt_microcredits": prompt,
        "completion_microcredits": completion,
        "cached_prompt_microcredits": cached.prompt_microcredits_per_token,
        "cached_completion_microcredits": cached.completion_microcredits_per_token,
    }
