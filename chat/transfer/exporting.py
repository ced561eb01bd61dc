"""Writes a conversation as a file: the shown branch as Markdown, or every version of every message as JSON."""

import json
from typing import Any

from django.utils.translation import gettext as _

from chat.branches import read_branches, shown_messages
from chat.models import Conversation, Message, Role

FORMAT, VERSION = "tally.conversation", 1


def write_markdown(conversation: Conversation) -> str:
    """The branch that the page shows, each message under a heading of who wrote it."""
    parts = [f"# {conversation.title}"]
    for message in shown_messages(conversation):
        parts.append(f"## {_('You') if message.role == Role.USER else author_of(message)}\n\n{message.text.strip()}")
    return "\n\n".join(parts) + "\n"


def write_json(conversation: Conversation) -> str:
    """All of it, in the format that `chat.transfer.formats` reads."""
    return json.dumps(export_conversation(conversation), ensure_ascii=False, indent=1)


def export_conversation(conversation: Conversation) -> dict[str, Any]:
    """All of it as JSON has it. Messages are numbered from 1."""
    messages = list(conversation.messages.select_related("generation__model").order_by("pk"))
    numbers: dict[int | None, int | None] = {message.pk: number for number, message in enumerate(messages, 1)}
    branches = read_branches(conversation)
    numbers[None] = None
    return {
        "format": FORMAT,
        "version": VERSION,
        "title": conversation.title,
        "model": conversation.model_id,
        "system_prompt": conversation.system_prompt,
        "parameters": conversation.parameters,
        "created_at": conversation.created_at.isoformat(),
        "updated_at": conversation.updated_at.isoformat(),
        "shown": numbers[branches.tip],
        "messages": [
            _message(message, numbers[message.pk], numbers[branches.parents[message.pk]]) for message in messages
        ],
    }


def author_of(message: Message) -> str:
    """The name of the model that wrote an answer."""
    return message.generation.model.name if message.generation else message.imported_from


def _message(message: Message, number: int | None, parent: int | None) -> dict[str, Any]:
    written: dict[str, Any] = {
        "number": number,
        "follows": parent,
        "role": message.role,
        "text": message.text,
        "created_at": message.created_at.isoformat(),
    }
    return written if message.role == Role.USER else written | {"model": author_of(message), "rating": message.rating}
