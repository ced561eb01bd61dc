"""`/v1/` in the documentation: drf-spectacular knows REST framework's views, and these are none."""

from copy import deepcopy
from typing import Any

from core.rest.schema import KEY_SCHEMA
from inference.answer_cache import CacheUse
from inference.engine.base import MAX_REPETITION_PENALTY, MAX_TOKEN_PENALTY, MAX_TOP_K, MAX_TOP_LOGPROBS
from inference.models import PromptFormat
from inference.openai.messages import MAX_MESSAGES, ROLES
from inference.openai.requests import (
    COMPLETION_MAX_LOGPROBS,
    INT32,
    INT64,
    MAX_STOP_CHARACTERS,
    MAX_STOP_STRINGS,
    MAX_USER_CHARACTERS,
)

Schema = dict[str, Any]
TAG = "OpenAI"


def _object(required: str, **properties: Schema) -> Schema:
    return {"type": "object", "properties": properties, "required": required.split()}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _number(low: float, high: float, description: str = "") -> Schema:
    return {"type": "number", "minimum": low, "maximum": high, "nullable": True, "description": description}


def _integer(low: int, high: int, description: str = "") -> Schema:
    return {"type": "integer", "minimum": low, "maximum": high, "nullable": True, "description": description}


TEXT: Schema = {"type": "string"}
COUNT: Schema = {"type": "integer", "minimum": 0}
NUMBER: Schema = {"type": "number"}
LOGPROB: Schema = {"type": "number", "maximum": 0}
REASON: Schema = {"type": "string", "enum": ["stop", "length"]}
STOP_STRING: Schema = {"type": "string", "minLength": 1, "maxLength": MAX_STOP_CHARACTERS}

ASKING: dict[str, Schema] = {
    "model": {"type": "string", "maxLength": 64, "description": "The id of one of GET /v1/models."},
    "max_tokens": _integer(-1, INT32, "How long the answer may be; -1 for as long as the model has room."),
    "temperature": _number(0, 2),
    "top_p": _number(0, 1),
    "top_k": _integer(-1, MAX_TOP_K, "-1 and 0 are off."),
    "min_p": {"type": "number", "minimum": 0, "maximum": 1, "exclusiveMaximum": True, "nullable": True},
    "repetition_penalty": _number(1, MAX_REPETITION_PENALTY),
    "frequency_penalty": _number(-MAX_TOKEN_PENALTY, MAX_TOKEN_PENALTY),
    "presence_penalty": _number(-MAX_TOKEN_PENALTY, MAX_TOKEN_PENALTY),
    "seed": _integer(-INT64, INT64, "The same one draws the same way."),
    "stop": {
        "nullable": True,
        "oneOf": [STOP_STRING, {"type": "array", "items": STOP_STRING, "maxItems": MAX_STOP_STRINGS}],
    },
    "user": {"type": "string", "maxLength": MAX_USER_CHARACTERS, "description": "What you call your own user."},
    "cache": {"type": "string", "enum": [use.value for use in CacheUse]},
    "stream": {"type": "boolean", "nullable": True},
    "stream_options": {"type": "object", "nullable": True, "properties": {"include_usage": {"type": "boolean"}}},
}
CANDIDATE: dict[str, Schema] = {
    "token": TEXT,
    "logprob": LOGPROB,
    "bytes": {
        "type": "array",
        "items": {"type": "integer", "minimum": 0, "maximum": 255},
        "nullable": True,
        "description": "In UTF-8, maybe a part of a character; null for a control token.",
    },
}
TOKENS_OF_CHAT = {
    "type": "array",
    "items": _object(
        "token logprob bytes top_logprobs",
        **CANDIDATE,
        top_logprobs={
            "type": "array",
            "items": _object("token logprob bytes", **CANDIDATE),
            "maxItems": MAX_TOP_LOGPROBS,
            "description": "The likeliest tokens in its place, the best first.",
        },
    ),
}
REFUSAL = TEXT | {"nullable": True}
UNLESS_ASKED = {"nullable": True, "description": "Null unless the request asks for it."}
LOGPROBS_OF_CHAT = _object("content refusal", content=TOKENS_OF_CHAT, refusal=REFUSAL) | UNLESS_ASKED
LOGPROBS_OF_TEXT = UNLESS_ASKED | _object(
    "tokens token_logprobs top_logprobs text_offset",
    tokens={"type": "array", "items": TEXT},
    token_logprobs={"type": "array", "items": LOGPROB},
    top_logprobs={"type": "array", "items": {"type": "object", "additionalProperties": LOGPROB}},
    text_offset={"type": "array", "items": COUNT, "description": "Characters of `text` before each token."},
)
PART = _object("type text", type={"type": "string", "enum": ["text"]}, text=TEXT)
MESSAGE = _object(
    "role",
    role={"type": "string", "enum": list(ROLES)},
    content={"nullable": True, "oneOf": [TEXT, {"type": "array", "items": PART}]},
)
TALLY = _object(
    "generation state balance_microcredits limited_by from_cache",
    generation={"type": "string", "format": "uuid"},
    state=TEXT,
    balance_microcredits={"type": "integer", "description": "Right after the charge."},
    limited_by={
        "type": "string",
        "nullable": True,
        "description": "What cut the answer where the request would have had it longer: balance, monthly_cap, key_cap "
        "or context.",
    },
    from_cache={"type": "boolean", "description": "Whether it repeats an earlier answer, at the cache price."},
)
USAGE = _object(
    "prompt_tokens completion_tokens total_tokens cost_microcredits",
    prompt_tokens=COUNT,
    completion_tokens=COUNT,
    total_tokens=COUNT,
    cost_microcredits=COUNT,
)


TEXTS: Schema = {"type": "array", "items": TEXT}
MODEL = _object(
    "id object created owned_by name description context_length context_window max_completion_tokens architecture "
    "pricing top_provider supported_parameters default_parameters",
    id=TEXT,
    object={"type": "string", "enum": ["model"]},
    created={"type": "integer", "description": "In seconds since 1970."},
    owned_by=TEXT,
    name=TEXT,
    description=TEXT,
    context_length=COUNT,
    context_window=COUNT | {"description": "The same as `context_length`."},
    max_completion_tokens=COUNT,
    architecture=_object(
        "modality input_modalities output_modalities prompt_format",
        modality=TEXT,
        input_modalities=TEXTS,
        output_modalities=TEXTS,
        prompt_format={"type": "string", "enum": [PromptFormat.CHAT_TEMPLATE.value, PromptFormat.TRANSCRIPT.value]},
    ),
    pricing=_object(
        "currency prompt completion prompt_microcredits completion_microcredits cached_prompt_microcredits "
        "cached_completion_microcredits",
        currency=TEXT,
        prompt=TEXT,
        completion=TEXT,
        prompt_microcredits=COUNT,
        completion_microcredits=COUNT,
        cached_prompt_microcredits=COUNT,
        cached_completion_microcredits=COUNT,
    )
    | {"nullable": True, "description": "Per token, in money and in microcredits; null without a price."},
    top_provider=_object(
        "context_length max_completion_tokens is_moderated",
        context_length=COUNT,
        max_completion_tokens=COUNT,
        is_moderated={"type": "boolean"},
    ),
    supported_parameters=TEXTS,
    default_parameters=_object(
        "temperature top_p top_k min_p repetition_penalty",
        temperature=NUMBER,
        top_p=NUMBER,
        top_k=COUNT,
        min_p=NUMBER,
        repetition_penalty=NUMBER,
    )
    | {"nullable": True, "description": "How it draws unless a request says otherwise."},
)


def _answer(kind: str, choice: Schema) -> Schema:
    return _object(
        "id object created model choices usage tally",
        id=TEXT,
        object={"type": "string", "enum": [kind]},
        created={"type": "integer", "description": "In seconds since 1970."},
        model=TEXT,
        choices={"type": "array", "items": choice, "minItems": 1, "maxItems": 1},
        usage=_ref("OpenAIUsage"),
        tally=_ref("OpenAITally"),
    )


SCHEMAS: dict[str, Schema] = {
    "OpenAIUsage": USAGE,
    "OpenAITally": TALLY,
    "OpenAIMessage": MESSAGE,
    "OpenAIChatRequest": _object(
        "model messages",
        messages={"type": "array", "items": _ref("OpenAIMessage"), "minItems": 1, "maxItems": MAX_MESSAGES},
        max_completion_tokens=ASKING["max_tokens"],
        logprobs={"type": "boolean", "nullable": True, "description": "Whether the answer has log probabilities."},
        top_logprobs=_integer(0, MAX_TOP_LOGPROBS, "With `logprobs`: how many of the likeliest tokens are named."),
        **ASKING,
    ),
    "OpenAITextRequest": _object(
        "model prompt",
        prompt={"type": "string", "minLength": 1},
        logprobs=_integer(0, COMPLETION_MAX_LOGPROBS, "Log probabilities, and of so many of the likeliest tokens."),
        **ASKING,
    ),
    "OpenAIChatAnswer": _answer(
        "chat.completion",
        _object(
            "index message logprobs finish_reason",
            index=COUNT,
            message=_object(
                "role content refusal",
                role={"type": "string", "enum": ["assistant"]},
                content=TEXT,
                refusal=REFUSAL,
            ),
            logprobs=LOGPROBS_OF_CHAT,
            finish_reason=REASON,
        ),
    ),
    "OpenAITextAnswer": _answer(
        "text_completion",
        _object(
            "index text logprobs finish_reason",
            index=COUNT,
            text=TEXT,
            logprobs=LOGPROBS_OF_TEXT,
            finish_reason=REASON,
        ),
    ),
    "OpenAIModel": MODEL,
    "OpenAIModels": _object(
        "object data",
        object={"type": "string", "enum": ["list"]},
        data={"type": "array", "items": _ref("OpenAIModel")},
    ),
    "OpenAIError": _object(
        "error",
        error=_object(
            "message type param code",
            message=TEXT,
            type=TEXT,
            param=TEXT | {"nullable": True},
            code=TEXT | {"nullable": True},
        ),
    ),
}
ERRORS = {
    "get": {"401": "No good key", "403": "A key without the scope", "404": "Unknown", "429": "Too often"},
    "post": {
        "400": "Malformed, or more than can be kept: `param` says what",
        "401": "No good key",
        "403": "A key without the scope",
        "404": "No such model",
        "409": "The Idempotency-Key was used for another request",
        "413": "Too large",
        "429": "Too often, or not enough credits: `code` says which",
        "500": "Interrupted on our side; costs nothing",
        "503": "The model, or the service, is not available",
    },
}


def _operation(method: str, name: str, summary: str, description: str, answer: str, asked: str = "") -> Schema:
    error = {"application/json": {"schema": _ref("OpenAIError")}}
    answers = {"application/json": {"schema": _ref(answer)}}
    found: Schema = {
        "operationId": name,
        "tags": [TAG],
        "summary": summary,
        "description": description,
        "security": [{"ApiKey": []}, {"AccessToken": []}],
        "responses": {
            "200": {"description": summary, "content": answers},
            **{status: {"description": words, "content": error} for status, words in ERRORS[method].items()},
        },
    }
    if asked:
        answers["text/event-stream"] = {"schema": TEXT}
        found["requestBody"] = {"required": True, "content": {"application/json": {"schema": _ref(asked)}}}
        found["parameters"] = [
            {
                "name": "Idempotency-Key",
                "in": "header",
                "schema": KEY_SCHEMA,
                "description": "With one, a retry gets the answer that the first request made, and pays nothing more.",
            }
        ]
    return found


KEY: Schema = {"name": "key", "in": "path", "required": True, "schema": TEXT}
PATHS: dict[str, Schema] = {
    "/v1/models": {
        "get": _operation("get", "openai_models_list", "List the models", "Those that answer now.", "OpenAIModels")
    },
    "/v1/models/{key}": {
        "get": _operation("get", "openai_models_retrieve", "Look at a model", "One of those.", "OpenAIModel")
        | {"parameters": [KEY]}
    },
    "/v1/chat/completions": {
        "post": _operation(
            "post",
            "openai_chat_completions_create",
            "Answer a conversation",
            "As OpenAI's `chat/completions`, whole or, with `stream`, as server-sent events.",
            "OpenAIChatAnswer",
            "OpenAIChatRequest",
        )
    },
    "/v1/completions": {
        "post": _operation(
            "post",
            "openai_completions_create",
            "Go on from a prompt",
            "As OpenAI's `completions`: the text is taken as it stands, without turns.",
            "OpenAITextAnswer",
            "OpenAITextRequest",
        )
    },
}


def add_openai_paths(result: Schema, **_options: Any) -> Schema:
    """One of drf-spectacular's POSTPROCESSING_HOOKS; `result` is the whole document."""
    result["paths"] |= deepcopy(PATHS)
    result["components"]["schemas"] |= deepcopy(SCHEMAS)
    return result
