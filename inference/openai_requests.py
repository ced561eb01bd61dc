"""Reading what OpenAI's clients send: every refusal names the parameter and what to do.

Parameters that we do not know are ignored, as OpenAI's own compatibility promise asks; those that we know and cannot
keep are refused, unless their value changes nothing.
"""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.utils.translation import gettext as _

from accounts.api_json import read_integer
from inference.answer_cache import CacheUse
from inference.engine.base import MAX_REPETITION_PENALTY, MAX_TOKEN_PENALTY, MAX_TOP_K, MAX_TOP_LOGPROBS
from inference.hot_path import read_offered_model
from inference.models import CatalogueModel
from inference.openai_errors import OpenAIError
from inference.parameters import Parameters
from inference.prompting.showable import showable
from inference.prompts import Conversation, InvalidPrompt, Prompt, RawText, conversation_of

# How a conversation with a model that calls tools reads to one that does not.
CALL, RESULT = "I call the tool", "The tool answers"

MAX_MESSAGES = 1000
MAX_STOP_STRINGS, MAX_STOP_CHARACTERS = 4, 200
MAX_USER_CHARACTERS = 200
COMPLETION_MAX_TOKENS = 16  # what OpenAI's `completions` documents for a request that names none
COMPLETION_MAX_LOGPROBS = 5  # its bound of `logprobs`
INT32, INT64 = 2**31 - 1, 2**63 - 1

ROLES = ("system", "developer", "user", "assistant", "tool", "function")

# Parameters that Tally cannot keep, each with the values that ask for nothing.
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
    """One request for an answer, checked."""

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
    """A request to `chat/completions`. Raises OpenAIError. Queries the catalogue."""
    if "max_tokens" in body and "max_completion_tokens" in body and _both_given(body):
        raise OpenAIError(
            400, "invalid_value", _("Send max_completion_tokens or max_tokens, not both."), "max_completion_tokens"
        )
    asked = _most_tokens(body, "max_completion_tokens") or _most_tokens(body, "max_tokens")
    prompt = read_messages(_required(body, "messages"))
    return _read(body, prompt=prompt, max_tokens=asked, top_logprobs=_chat_logprobs(body))


def read_text_completion(body: dict[str, Any]) -> Call:
    """A request to `completions`. Raises OpenAIError. Queries the catalogue."""
    asked = _most_tokens(body, "max_tokens") or COMPLETION_MAX_TOKENS
    prompt = _raw_prompt(_required(body, "prompt"))
    return _read(body, prompt=prompt, max_tokens=asked, top_logprobs=_text_logprobs(body))


def find_model(key: object) -> CatalogueModel:
    """The model that customers know by this name. Raises OpenAIError, 404, as OpenAI does."""
    if not isinstance(key, str):
        raise _invalid_type("model", _("a string"))
    model = None if "\x00" in key or not _is_text(key) else read_offered_model(key)
    if model is None:
        raise unknown_model(key)
    return model


def unknown_model(key: str) -> OpenAIError:
    """What to say of a model that customers do not know. Half a character, which JSON can spell, is left out."""
    shown = key[:100].encode(errors="ignore").decode()
    message = _("There is no model “{key}”. GET /v1/models lists them.").format(key=shown)
    return OpenAIError(404, "model_not_found", message, "model")


def read_messages(messages: object) -> Conversation:
    """The conversation of a request's messages. Raises OpenAIError that names the place."""
    if not isinstance(messages, list):
        raise _invalid_type("messages", _("a list"))
    if not messages:
        raise OpenAIError(400, "empty_array", _("Send at least one message."), "messages")
    if len(messages) > MAX_MESSAGES:
        message = _("At most {limit:,} messages; you sent {count:,}.").format(limit=MAX_MESSAGES, count=len(messages))
        raise OpenAIError(400, "array_above_max_length", message, "messages")
    said = [_said(message, f"messages[{index}]") for index, message in enumerate(messages)]
    try:
        return conversation_of(said)
    except InvalidPrompt as error:
        raise OpenAIError(400, "empty_prompt", str(error), "messages") from error


def _read(body: dict[str, Any], *, prompt: Prompt, max_tokens: int | None, top_logprobs: int | None) -> Call:
    model = find_model(_required(body, "model"))
    _refuse_unsupported(body)
    is_streamed = _boolean(body, "stream")
    return Call(
        model=model,
        prompt=prompt,
        parameters=_parameters(body, max_tokens, top_logprobs),
        end_user=_string(body, "user", MAX_USER_CHARACTERS),
        cache=_cache(body.get("cache")),
        is_streamed=is_streamed,
        includes_usage=_includes_usage(body, is_streamed),
    )


def _chat_logprobs(body: dict[str, Any]) -> int | None:
    """How many of the likeliest tokens are named; None: no log probabilities."""
    top = _integer(body, "top_logprobs", 0, MAX_TOP_LOGPROBS) or 0
    if _boolean(body, "logprobs"):
        return top
    if top:
        message = _("'top_logprobs' is only for requests with 'logprobs': true.")
        raise OpenAIError(400, "invalid_value", message, "top_logprobs")
    return None


def _text_logprobs(body: dict[str, Any]) -> int | None:
    """As `_chat_logprobs`; `completions` has one number for both."""
    if body.get("top_logprobs"):
        message = _("Here the number of 'logprobs' says how many tokens are named. Leave 'top_logprobs' out.")
        raise OpenAIError(400, "unsupported_parameter", message, "top_logprobs")
    if body.get("logprobs") is False:
        return None
    return _integer(body, "logprobs", 0, COMPLETION_MAX_LOGPROBS)


def _parameters(body: dict[str, Any], max_tokens: int | None, top_logprobs: int | None) -> Parameters:
    top_p, top_k = _number(body, "top_p", 0, 1), _integer(body, "top_k", -1, MAX_TOP_K)
    if top_k in (-1, 0):  # what other servers call off: all that the sampler looks at
        top_k = MAX_TOP_K
    if top_p == 0:  # nothing but the best token
        top_p, top_k = None, 1
    min_p = _number(body, "min_p", 0, 1)
    if min_p == 1:
        raise OpenAIError(400, "decimal_above_max_value", _("'min_p' is at least 0 and below 1."), "min_p")
    return Parameters(
        max_tokens=max_tokens,
        temperature=_number(body, "temperature", 0, 2),
        top_p=top_p,
        top_k=top_k,
        seed=_integer(body, "seed", -INT64, INT64),
        stop=_stop(body.get("stop")),
        min_p=min_p or 0.0,
        repetition_penalty=_number(body, "repetition_penalty", 1, MAX_REPETITION_PENALTY),
        frequency_penalty=_number(body, "frequency_penalty", -MAX_TOKEN_PENALTY, MAX_TOKEN_PENALTY) or 0.0,
        presence_penalty=_number(body, "presence_penalty", -MAX_TOKEN_PENALTY, MAX_TOKEN_PENALTY) or 0.0,
        top_logprobs=top_logprobs,
    )


def _most_tokens(body: dict[str, Any], name: str) -> int | None:
    """How long an answer may be; -1 is what other servers call no limit."""
    asked = _integer(body, name, -1, INT32)
    if asked == 0:
        _demand_within(name, asked, 1, INT32, "integer")
    return INT32 if asked == -1 else asked


def _refuse_unsupported(body: dict[str, Any]) -> None:
    for tools, choice in TOOLS.items():
        _refuse_tools(body, tools, choice)
    for name, harmless in UNSUPPORTED.items():
        value = body.get(name)
        # As JSON, because Python takes 1 for True and 0 for False.
        if value is not None and json.dumps(value) not in map(json.dumps, harmless):
            code = "unsupported_value" if harmless else "unsupported_parameter"
            allowed = " or ".join(json.dumps(value) for value in harmless[:1])
            message = _("Tally does not support '{name}' with this value.").format(name=name)
            if allowed:
                message += " " + _("Leave it out, or send {allowed}.").format(allowed=allowed)
            raise OpenAIError(400, code, message, name)


def _refuse_tools(body: dict[str, Any], tools: str, choice: str) -> None:
    """Tools may be there as long as none may be called: agents send them along with the question that ends the talk."""
    if body.get(choice) not in (None, "none", "auto"):
        text = _("Tally calls no tools. Leave '{name}' out, or send \"none\".").format(name=choice)
        raise OpenAIError(400, "unsupported_value", text, choice)
    if body.get(tools) and body.get(choice) != "none":
        text = _("Tally calls no tools. Leave '{name}' out, or send '{choice}': \"none\" with it.").format(
            name=tools, choice=choice
        )
        raise OpenAIError(400, "unsupported_value", text, tools)


def _said(message: object, where: str) -> tuple[str, str]:
    if not isinstance(message, dict):
        raise _invalid_type(where, _("an object"))
    role = message.get("role")
    if role is None:
        raise _missing(f"{where}.role")
    if not isinstance(role, str) or role not in ROLES:
        roles = ", ".join(ROLES)
        text = _("This role is not supported. Use one of {roles}.").format(roles=roles)
        raise OpenAIError(400, "invalid_value", text, f"{where}.role")
    if message.get("audio"):
        text = _("Tally does not support '{name}' in messages.").format(name="audio")
        raise OpenAIError(400, "unsupported_value", text, f"{where}.audio")
    text = _content(message.get("content"), f"{where}.content")
    if role in ("tool", "function"):
        return "user", _checked(f"{RESULT}:\n{text}", f"{where}.content")
    calls = "\n".join(_calls(message, where)) if role == "assistant" else ""
    return role, _checked("\n".join(filter(None, (text, calls))), f"{where}.content")


def _calls(message: dict[str, Any], where: str) -> Iterator[str]:
    """A line for each call of a tool that an assistant made before, by a model that calls them."""
    calls = message.get("tool_calls") or []
    if not isinstance(calls, list):
        raise _invalid_type(f"{where}.tool_calls", _("a list"))
    if len(calls) > MAX_MESSAGES:
        text = _("At most {limit:,} calls.").format(limit=MAX_MESSAGES)
        raise OpenAIError(400, "array_above_max_length", text, f"{where}.tool_calls")
    functions = [
        (call.get("function") if isinstance(call, dict) else None, f"{where}.tool_calls[{index}].function")
        for index, call in enumerate(calls)
    ]
    if message.get("function_call"):
        functions.append((message["function_call"], f"{where}.function_call"))
    for function, place in functions:
        if not isinstance(function, dict):
            raise _invalid_type(place, _("an object"))
        for name in ("name", "arguments"):
            if not isinstance(function.get(name), str):
                raise _invalid_type(f"{place}.{name}", _("a string"))
        yield f"{CALL} {function['name']}({function['arguments']})"


def _content(content: object, where: str) -> str:
    if content is None:  # of an assistant that called a tool instead, and of clients that keep what they had nothing of
        return ""
    if isinstance(content, str):
        return _checked(content, where)
    if not isinstance(content, list):
        raise _invalid_type(where, _("a string or a list of parts"))
    if len(content) > MAX_MESSAGES:
        message = _("At most {limit:,} parts.").format(limit=MAX_MESSAGES)
        raise OpenAIError(400, "array_above_max_length", message, where)
    return _checked("\n".join(_part(part, f"{where}[{index}]") for index, part in enumerate(content)), where)


def _part(part: object, where: str) -> str:
    if not isinstance(part, dict):
        raise _invalid_type(where, _("an object"))
    if part.get("type") == "refusal" and isinstance(part.get("refusal"), str):
        return str(part["refusal"])
    if part.get("type") != "text":
        message = _("Only parts of type 'text' are supported: this model reads no images, sound or files.")
        raise OpenAIError(400, "unsupported_content_type", message, f"{where}.type")
    text = part.get("text")
    if not isinstance(text, str):
        raise _invalid_type(f"{where}.text", _("a string"))
    return text


def _raw_prompt(prompt: object) -> RawText:
    if isinstance(prompt, list) and len(prompt) == 1 and isinstance(prompt[0], str):
        prompt = prompt[0]
    if isinstance(prompt, list):
        message = _("Send one prompt as a string: lists of prompts and token ids are not supported.")
        raise OpenAIError(400, "unsupported_value", message, "prompt")
    if not isinstance(prompt, str):
        raise _invalid_type("prompt", _("a string"))
    if not showable(prompt):
        raise OpenAIError(400, "invalid_value", _("The prompt is empty. Write something."), "prompt")
    return RawText(_checked(prompt, "prompt"))


def _stop(stop: object) -> tuple[str, ...]:
    if stop is None:
        return ()
    texts = [stop] if isinstance(stop, str) else stop
    if texts in ([""], []):  # what forms of clients send for none
        return ()
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise _invalid_type("stop", _("a string or a list of strings"))
    if len(texts) > MAX_STOP_STRINGS:
        message = _("At most {limit} stop strings; you sent {count:,}.").format(
            limit=MAX_STOP_STRINGS, count=len(texts)
        )
        raise OpenAIError(400, "array_above_max_length", message, "stop")
    for text in texts:
        if not 1 <= len(text) <= MAX_STOP_CHARACTERS or "\x00" in text or not _is_text(text):
            message = _("A stop string has 1 to {most} characters of valid text.").format(most=MAX_STOP_CHARACTERS)
            raise OpenAIError(400, "invalid_value", message, "stop")
    return tuple(texts)


def _cache(use: object) -> CacheUse:
    if use is None:
        return CacheUse.PRIVATE
    if not isinstance(use, str):
        raise _invalid_type("cache", _("a string"))
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
        raise _invalid_type("stream_options", _("an object"))
    if not is_streamed:
        message = _("'stream_options' is only for requests with 'stream': true.")
        raise OpenAIError(400, "invalid_value", message, "stream_options")
    return _boolean(options, "include_usage", "stream_options.")


def _both_given(body: dict[str, Any]) -> bool:
    return body["max_tokens"] is not None and body["max_completion_tokens"] is not None


def _required(body: dict[str, Any], name: str) -> object:
    value = body.get(name)
    if value is None:
        raise _missing(name)
    return value


def _boolean(body: dict[str, Any], name: str, prefix: str = "") -> bool:
    value = body.get(name)
    if value is not None and not isinstance(value, bool):
        raise _invalid_type(prefix + name, _("true or false"))
    return bool(value)


def _integer(body: dict[str, Any], name: str, low: int, high: int) -> int | None:
    value = body.get(name)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool):
        raise _invalid_type(name, _("an integer"))
    _demand_within(name, value, low, high, "integer")
    return value


def _number(body: dict[str, Any], name: str, low: float, high: float) -> float | None:
    value = body.get(name)
    if value is None:
        return None
    is_nan = isinstance(value, float) and math.isnan(value)  # integers may be too large for isnan
    if not isinstance(value, int | float) or isinstance(value, bool) or is_nan:
        raise _invalid_type(name, _("a number"))
    _demand_within(name, value, low, high, "decimal")
    return float(value)


def _demand_within(name: str, value: float, low: float, high: float, kind: str) -> None:
    if low <= value <= high:
        return
    code = f"{kind}_below_min_value" if value < low else f"{kind}_above_max_value"
    message = _("'{name}' is between {low} and {high}.").format(name=name, low=low, high=high)
    raise OpenAIError(400, code, message, name)


def _string(body: dict[str, Any], name: str, most_characters: int) -> str:
    value = body.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise _invalid_type(name, _("a string"))
    if len(value) > most_characters or "\x00" in value or not _is_text(value):
        message = _("'{name}' has at most {most} characters of valid text.").format(name=name, most=most_characters)
        raise OpenAIError(400, "invalid_value", message, name)
    return value


def _checked(text: str, where: str) -> str:
    if len(text) > settings.PROMPT_MAX_CHARACTERS:
        message = _("This has {count:,} characters; at most {limit:,} can be sent.").format(
            count=len(text), limit=settings.PROMPT_MAX_CHARACTERS
        )
        raise OpenAIError(400, "string_above_max_length", message, where)
    if not _is_text(text):
        raise OpenAIError(400, "invalid_value", _("This is not valid Unicode: it has half a character."), where)
    return showable(text)


def _is_text(text: str) -> bool:
    """False for lone surrogates, which JSON can spell and UTF-8 cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _invalid_type(param: str, wanted: str) -> OpenAIError:
    return OpenAIError(400, "invalid_type", _("'{param}' is {wanted}.").format(param=param, wanted=wanted), param)


def _missing(param: str) -> OpenAIError:
    return OpenAIError(400, "missing_required_parameter", _("'{param}' is missing.").format(param=param), param)
