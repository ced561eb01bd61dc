"""Reads single members of a request to OpenAI's API. Every error names the member's place in the request."""

import math
from typing import Any

from django.conf import settings
from django.utils.translation import gettext as _

from inference.openai.errors import OpenAIError
from inference.prompting.showable import showable


def required(body: dict[str, Any], name: str) -> object:
    """A member that must be there. Raises OpenAIError that names it."""
    value = body.get(name)
    if value is None:
        raise missing(name)
    return value


def boolean(body: dict[str, Any], name: str, prefix: str = "") -> bool:
    """True or false, false where it is left out. Raises OpenAIError that names it, after `prefix`."""
    value = body.get(name)
    if value is not None and not isinstance(value, bool):
        raise invalid_type(prefix + name, _("true or false"))
    return bool(value)


def integer(body: dict[str, Any], name: str, low: int, high: int) -> int | None:
    """An integer from `low` to `high`, None where it is left out. Raises OpenAIError."""
    value = body.get(name)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool):
        raise invalid_type(name, _("an integer"))
    demand_within(name, value, low, high, "integer")
    return value


def number(body: dict[str, Any], name: str, low: float, high: float) -> float | None:
    """A number from `low` to `high`, None where it is left out. Raises OpenAIError."""
    value = body.get(name)
    if value is None:
        return None
    is_nan = isinstance(value, float) and math.isnan(value)  # integers may be too large for isnan
    if not isinstance(value, int | float) or isinstance(value, bool) or is_nan:
        raise invalid_type(name, _("a number"))
    demand_within(name, value, low, high, "decimal")
    return float(value)


def demand_within(name: str, value: float, low: float, high: float, kind: str) -> None:
    """Raise OpenAIError for a value outside its bounds; `kind` is what OpenAI calls the type in its codes."""
    if low <= value <= high:
        return
    code = f"{kind}_below_min_value" if value < low else f"{kind}_above_max_value"
    message = _("'{name}' is between {low} and {high}.").format(name=name, low=low, high=high)
    raise OpenAIError(400, code, message, name)


def string(body: dict[str, Any], name: str, most_characters: int) -> str:
    """A text of at most so many characters, empty where it is left out. Raises OpenAIError."""
    value = body.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise invalid_type(name, _("a string"))
    if len(value) > most_characters or "\x00" in value or not is_text(value):
        message = _("'{name}' has at most {most} characters of valid text.").format(name=name, most=most_characters)
        raise OpenAIError(400, "invalid_value", message, name)
    return value


def checked_text(text: str, where: str) -> str:
    """A text of a prompt, without what cannot be shown. Raises OpenAIError if it is too long or not valid Unicode."""
    if len(text) > settings.PROMPT_MAX_CHARACTERS:
        message = _("This has {count:,} characters; at most {limit:,} can be sent.").format(
            count=len(text), limit=settings.PROMPT_MAX_CHARACTERS
        )
        raise OpenAIError(400, "string_above_max_length", message, where)
    if not is_text(text):
        raise OpenAIError(400, "invalid_value", _("This is not valid Unicode: it has half a character."), where)
    return showable(text)


def is_text(text: str) -> bool:
    """False for lone surrogates, which JSON can spell and UTF-8 cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def invalid_type(param: str, wanted: str) -> OpenAIError:
    """The error for a member `param` of another type than `wanted`."""
    return OpenAIError(400, "invalid_type", _("'{param}' is {wanted}.").format(param=param, wanted=wanted), param)


def missing(param: str) -> OpenAIError:
    """The error for a missing member."""
    return OpenAIError(400, "missing_required_parameter", _("'{param}' is missing.").format(param=param), param)
