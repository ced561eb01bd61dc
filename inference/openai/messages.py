"""Reads the messages of a chat request. Every error names the place in the list of messages."""

from collections.abc import Iterator
from typing import Any

from django.utils.translation import gettext as _

from inference.openai.errors import OpenAIError
from inference.openai.fields import checked_text, invalid_type, missing
from inference.prompting.prompts import Conversation, InvalidPrompt, conversation_of

# Our models call no tools. Calls of tools by another model, and their results, become texts that begin like this.
CALL, RESULT = "I call the tool", "The tool answers"

MAX_MESSAGES = 1000
ROLES = ("system", "developer", "user", "assistant", "tool", "function")


def read_messages(messages: object) -> Conversation:
    """Convert a request's messages to a conversation. Raises OpenAIError."""
    if not isinstance(messages, list):
        raise invalid_type("messages", _("a list"))
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


def _said(message: object, where: str) -> tuple[str, str]:
    if not isinstance(message, dict):
        raise invalid_type(where, _("an object"))
    role = message.get("role")
    if role is None:
        raise missing(f"{where}.role")
    if not isinstance(role, str) or role not in ROLES:
        roles = ", ".join(ROLES)
        text = _("This role is not supported. Use one of {roles}.").format(roles=roles)
        raise OpenAIError(400, "invalid_value", text, f"{where}.role")
    if message.get("audio"):
        text = _("Tally does not support '{name}' in messages.").format(name="audio")
        raise OpenAIError(400, "unsupported_value", text, f"{where}.audio")
    text = _content(message.get("content"), f"{where}.content")
    if role in ("tool", "function"):
        return "user", checked_text(f"{RESULT}:\n{text}", f"{where}.content")
    calls = "\n".join(_calls(message, where)) if role == "assistant" else ""
    return role, checked_text("\n".join(filter(None, (text, calls))), f"{where}.content")


def _calls(message: dict[str, Any], where: str) -> Iterator[str]:
    """A line of text for each call of a tool in a message of the assistant."""
    calls = message.get("tool_calls") or []
    if not isinstance(calls, list):
        raise invalid_type(f"{where}.tool_calls", _("a list"))
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
            raise invalid_type(place, _("an object"))
        for name in ("name", "arguments"):
            if not isinstance(function.get(name), str):
                raise invalid_type(f"{place}.{name}", _("a string"))
        yield f"{CALL} {function['name']}({function['arguments']})"


def _content(content: object, where: str) -> str:
    if content is None:  # the message only calls a tool, or its client sends empty texts as null
        return ""
    if isinstance(content, str):
        return checked_text(content, where)
    if not isinstance(content, list):
        raise invalid_type(where, _("a string or a list of parts"))
    if len(content) > MAX_MESSAGES:
        message = _("At most {limit:,} parts.").format(limit=MAX_MESSAGES)
        raise OpenAIError(400, "array_above_max_length", message, where)
    return checked_text("\n".join(_part(part, f"{where}[{index}]") for index, part in enumerate(content)), where)


def _part(part: object, where: str) -> str:
    if not isinstance(part, dict):
        raise invalid_type(where, _("an object"))
    if part.get("type") == "refusal" and isinstance(part.get("refusal"), str):
        return str(part["refusal"])
    if part.get("type") != "text":
        message = _("Only parts of type 'text' are supported: this model reads no images, sound or files.")
        raise OpenAIError(400, "unsupported_content_type", message, f"{where}.type")
    text = part.get("text")
    if not isinstance(text, str):
        raise invalid_type(f"{where}.text", _("a string"))
    return text
