"""Reads and checks request bodies of OpenAI's API. Every error names the parameter and says what to do.

Unknown parameters are ignored, as OpenAI's own compatibility promise asks. Parameters that we know but do not support
are refused, unless their value changes nothing.
"""

import json
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _

from core.rest.json import read_integer
from inference.answer_cache import CacheUse
from inference.engine.base import MAX_REPETITION_PENALTY, MAX_TOKEN_PENALTY, MAX_TOP_K, MAX_TOP_LOGPROBS
from inference.generations.parameters import Parameters
from inference.generations.statements import read_offered_model
from inference.models import CatalogueModel
from inference.openai.errors import OpenAIError
from inference.openai.fields import (
    boolean,
    checked_text,
    demand_within,
    integer,
    invalid_type,
    is_text,
    number,
    required,
    string,
)
from inference.openai.messages import read_messages
from inference.prompting.prompts import Prompt, RawText
from inference.prompting.showable import showable

MAX_STOP_STRINGS, MAX_STOP_CHARACTERS = 4, 200
MAX_USER_CHARACTERS = 200
COMPLETION_MAX_TOKENS = 16  # the default that OpenAI documents for `completions`
COMPLETION_MAX_LOGPROBS = 5  # the largest `logprobs` of OpenAI's `completions`
INT32, INT64 = 2**31 - 1, 2**63 - 1

# Parameters that Tally does not support, each with the values that change nothing and so are accepted.
UNSUPPORTED: dict[str, tuple[Any, ...]] = {
    "n": (1, 1.0),
    "best_of": (1, 1.0),
    "echo": (False,),
    "suffix": ("",),
    "logit_bias": ({},),
    "response_format": ({"type": "text"},),
    "modalities": (["text"],),
    "audio": (),
    "web_search_options": (),
}
TOOLS = {"tools": "tool_choice", "functions": "function_call"}


@dataclass(frozen=True, slots=True)
class Call:
    """A checked request for an answer."""

    model: CatalogueModel
    prompt: Prompt
    parameters: Parameters
    end_user: str
    cache: CacheUse
    is_streamed: bool
    includes_usage: bool


def parse_body(raw: bytes) -> dict[str, Any]:
    """The JSON object of a request. Raises OpenAIError for anything else."""
    try:
        body = json.loads(raw, parse_int=read_integer)
    except (ValueError, RecursionError) as error:
        raise OpenAIError(400, "invalid_json", _("The body is not valid JSON.")) from error
    if not isinstance(body, dict):
        raise OpenAIError(400, "invalid_json", _("The body is a JSON object."))
    return body


def read_chat(body: dict[str, Any]) -> Call:
    """Read a request to `chat/completions`. Queries the catalogue. Raises OpenAIError."""
    if "max_tokens" in body and "max_completion_tokens" in body and _both_given(body):
        raise OpenAIError(
            400, "invalid_value", _("Send max_completion_tokens or max_tokens, not both."), "max_completion_tokens"
        )
    asked = _most_tokens(body, "max_completion_tokens") or _most_tokens(body, "max_tokens")
    prompt = read_messages(required(body, "messages"))
    return _read(body, prompt=prompt, max_tokens=asked, top_logprobs=_chat_logprobs(body))


def read_text_completion(body: dict[str, Any]) -> Call:
    """Read a request to `completions`. Queries the catalogue. Raises OpenAIError."""
    asked = _most_tokens(body, "max_tokens") or COMPLETION_MAX_TOKENS
    prompt = _raw_prompt(required(body, "prompt"))
    return _read(body, prompt=prompt, max_tokens=asked, top_logprobs=_text_logprobs(body))


def find_model(key: object) -> CatalogueModel:
    """The active model with this key. Raises OpenAIError, with status 404 if there is none, as OpenAI does."""
    if not isinstance(key, str):
        raise invalid_type("model", _("a string"))
    model = None if "\x00" in key or not is_text(key) else read_offered_model(key)
    if model is None:
        raise unknown_model(key)
    return model


def unknown_model(key: str) -> OpenAIError:
    """The error for an unknown model. Leaves out lone surrogates in its name, which JSON can contain."""
    shown = key[:100].encode(errors="ignore").decode()
    message = _("There is no model “{key}”. GET /v1/models lists them.").format(key=shown)
    return OpenAIError(404, "model_not_found", message, "model")


def _read(body: dict[str, Any], *, prompt: Prompt, max_tokens: int | None, top_logprobs: int | None) -> Call:
    model = find_model(required(body, "model"))
    _refuse_unsupported(body)
    is_streamed = boolean(body, "stream")
    return Call(
        model=model,
        prompt=prompt,
        parameters=_parameters(body, max_tokens, top_logprobs),
        end_user=string(body, "user", MAX_USER_CHARACTERS),
        cache=_cache(body.get("cache")),
        is_streamed=is_streamed,
        includes_usage=_includes_usage(body, is_streamed),
    )


def _chat_logprobs(body: dict[str, Any]) -> int | None:
    """How many of the likeliest tokens to return beside each token; None: no log probabilities."""
    top = integer(body, "top_logprobs", 0, MAX_TOP_LOGPROBS) or 0
    if boolean(body, "logprobs"):
        return top
    if top:
        message = _("'top_logprobs' is only for requests with 'logprobs': true.")
        raise OpenAIError(400, "invalid_value", message, "top_logprobs")
    return None


def _text_logprobs(body: dict[str, Any]) -> int | None:
    """As `_chat_logprobs`, for `completions`, where the number `logprobs` says both."""
    if body.get("top_logprobs"):
        message = _("Here the number of 'logprobs' says how many tokens are named. Leave 'top_logprobs' out.")
        raise OpenAIError(400, "unsupported_parameter", message, "top_logprobs")
    if body.get("logprobs") is False:
        return None
    return integer(body, "logprobs", 0, COMPLETION_MAX_LOGPROBS)


def _parameters(body: dict[str, Any], max_tokens: int | None, top_logprobs: int | None) -> Parameters:
    top_p, top_k = number(body, "top_p", 0, 1), integer(body, "top_k", -1, MAX_TOP_K)
    if top_k in (-1, 0):  # with other servers this means no limit: take the most that the sampler can
        top_k = MAX_TOP_K
    if top_p == 0:  # nothing but the best token
        top_p, top_k = None, 1
    min_p = number(body, "min_p", 0, 1)
    if min_p == 1:
        raise OpenAIError(400, "decimal_above_max_value", _("'min_p' is at least 0 and below 1."), "min_p")
    return Parameters(
        max_tokens=max_tokens,
        temperature=number(body, "temperature", 0, 2),
        top_p=top_p,
        top_k=top_k,
        seed=integer(body, "seed", -INT64, INT64),
        stop=_stop(body.get("stop")),
        min_p=min_p or 0.0,
        repetition_penalty=number(body, "repetition_penalty", 1, MAX_REPETITION_PENALTY),
        frequency_penalty=number(body, "frequency_penalty", -MAX_TOKEN_PENALTY, MAX_TOKEN_PENALTY) or 0.0,
        presence_penalty=number(body, "presence_penalty", -MAX_TOKEN_PENALTY, MAX_TOKEN_PENALTY) or 0.0,
        top_logprobs=top_logprobs,
    )


def _most_tokens(body: dict[str, Any], name: str) -> int | None:
    """The length limit of the answer in tokens. -1 means no limit, as with other servers."""
    asked = integer(body, name, -1, INT32)
    if asked == 0:
        demand_within(name, asked, 1, INT32, "integer")
    return INT32 if asked == -1 else asked


def _refuse_unsupported(body: dict[str, Any]) -> None:
    for tools, choice in TOOLS.items():
        _refuse_tools(body, tools, choice)
    for name, harmless in UNSUPPORTED.items():
        value = body.get(name)
        # Compare JSON texts, since in Python 1 == True and 0 == False.
        if value is not None and json.dumps(value) not in map(json.dumps, harmless):
            code = "unsupported_value" if harmless else "unsupported_parameter"
            allowed = " or ".join(json.dumps(value) for value in harmless[:1])
            message = _("Tally does not support '{name}' with this value.").format(name=name)
            if allowed:
                message += " " + _("Leave it out, or send {allowed}.").format(allowed=allowed)
            raise OpenAIError(400, code, message, name)


def _refuse_tools(body: dict[str, Any], tools: str, choice: str) -> None:
    """Refuse a request that may call tools. With "none" they may be listed: agents do this in their last request."""
    if body.get(choice) not in (None, "none", "auto"):
        text = _("Tally calls no tools. Leave '{name}' out, or send \"none\".").format(name=choice)
        raise OpenAIError(400, "unsupported_value", text, choice)
    if body.get(tools) and body.get(choice) != "none":
        text = _("Tally calls no tools. Leave '{name}' out, or send '{choice}': \"none\" with it.").format(
            name=tools, choice=choice
        )
        raise OpenAIError(400, "unsupported_value", text, tools)


def _raw_prompt(prompt: object) -> RawText:
    if isinstance(prompt, list) and len(prompt) == 1 and isinstance(prompt[0], str):
        prompt = prompt[0]
    if isinstance(prompt, list):
        message = _("Send one prompt as a string: lists of prompts and token ids are not supported.")
        raise OpenAIError(400, "unsupported_value", message, "prompt")
    if not isinstance(prompt, str):
        raise invalid_type("prompt", _("a string"))
    if not showable(prompt):
        raise OpenAIError(400, "invalid_value", _("The prompt is empty. Write something."), "prompt")
    return RawText(checked_text(prompt, "prompt"))


def _stop(stop: object) -> tuple[str, ...]:
    if stop is None:
        return ()
    texts = [stop] if isinstance(stop, str) else stop
    if texts in ([""], []):  # what some clients send for no stop strings
        return ()
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise invalid_type("stop", _("a string or a list of strings"))
    if len(texts) > MAX_STOP_STRINGS:
        message = _("At most {limit} stop strings; you sent {count:,}.").format(
            limit=MAX_STOP_STRINGS, count=len(texts)
        )
        raise OpenAIError(400, "array_above_max_length", message, "stop")
    for text in texts:
        if not 1 <= len(text) <= MAX_STOP_CHARACTERS or "\x00" in text or not is_text(text):
            message = _("A stop string has 1 to {most} characters of valid text.").format(most=MAX_STOP_CHARACTERS)
            raise OpenAIError(400, "invalid_value", message, "stop")
    return tuple(texts)


def _cache(use: object) -> CacheUse:
    if use is None:
        return CacheUse.PRIVATE
    if not isinstance(use, str):
        raise invalid_type("cache", _("a string"))
    if use not in list(CacheUse):
        allowed = ", ".join(f'"{use}"' for use in CacheUse)
        message = _("'cache' is one of {allowed}.").format(allowed=allowed)
        raise OpenAIError(400, "invalid_value", message, "cache")
    return CacheUse(use)


def _includes_usage(body: dict[str, Any], is_streamed: bool) -> bool:
    options = body.get("stream_options")
    if options is None:
        return False
    if not isinstance(options, dict):
        raise invalid_type("stream_options", _("an object"))
    if not is_streamed:
        message = _("'stream_options' is only for requests with 'stream': true.")
        raise OpenAIError(400, "invalid_value", message, "stream_options")
    return boolean(options, "include_usage", "stream_options.")


def _both_given(body: dict[str, Any]) -> bool:
    return body["max_tokens"] is not None and body["max_completion_tokens"] is not None
