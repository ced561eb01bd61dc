"""Reads files of conversations: Tally's own, ChatGPT's and Open WebUI's. The two others may change without notice.

ChatGPT: the list in `conversations.json` of its export, each with a `mapping` of nodes to their parents. Open WebUI:
the list of "Export chats", each with `chat.history.messages`. What tools and systems say,
and pictures, are left out.
"""

import io
import json
import math
import zipfile
import zlib
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from django.conf import settings
from django.utils import timezone
from django.utils.translation import gettext as _

from chat.models import Rating, Role
from chat.transfer.exporting import FORMAT
from inference.prompting.showable import showable

MOST_BYTES = 2_000_000  # of the file; a page takes a little more (DATA_UPLOAD_MAX_MEMORY_SIZE)
MOST_INFLATED_BYTES = 25_000_000
MOST_VALUES = 2_000_000  # of JSON, about: each takes some sixty bytes of memory once it is read
MOST_CONVERSATIONS = 1_000
MOST_MESSAGES = 10_000
MOST_CHARACTERS = 300_000  # of one message
UNPACKED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # others may ask for gigabytes of memory by a few bytes
# What `zipfile` raises for an archive that is cut off, changed, or encrypted (RuntimeError).
BROKEN_ARCHIVE = (KeyError, zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, ValueError)
OLDEST = datetime(2000, 1, 1, tzinfo=UTC)


class UnreadableFile(Exception):
    """The file cannot be imported. The message tells a customer why."""


@dataclass(slots=True)
class Turn:
    """A message of a file. `key` and `parent` are the file's own names."""

    key: str
    parent: str | None
    role: str
    text: str
    author: str = ""
    created_at: datetime = OLDEST
    rating: int | None = None


@dataclass(slots=True)
class Talk:
    """A conversation of a file. Parents stand before their children."""

    title: str
    source: str
    model: str = ""
    system_prompt: str = ""
    created_at: datetime = OLDEST
    updated_at: datetime = OLDEST
    tip: str | None = None
    turns: list[Turn] = field(default_factory=list)


def read_file(content: bytes) -> list[Talk]:
    """The conversations of a JSON file, or of a zip archive that holds one. Raises UnreadableFile."""
    if len(content) > MOST_BYTES:
        raise UnreadableFile(_too_large())
    text = _unpack(content)
    if sum(text.count(sign) for sign in (b"{", b"[", b",")) > MOST_VALUES:
        raise UnreadableFile(_("The file has too many parts. Import it in several pieces."))
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        raise UnreadableFile(_("This is no JSON file. Choose an export of Tally, ChatGPT or Open WebUI.")) from None
    entries = data if isinstance(data, list) else [data]
    if len(entries) > MOST_CONVERSATIONS:
        raise UnreadableFile(
            _("The file has {count} conversations. At most {most} can be imported at once.").format(
                count=len(entries), most=MOST_CONVERSATIONS
            )
        )
    try:
        talks = [_read(entry) for entry in entries]
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError, RecursionError):
        raise UnreadableFile(_("A part of the file is not as it should be. Nothing was imported.")) from None
    return _within_limits([talk for talk in talks if talk.turns])


def _too_large() -> str:
    words = _("The file is too large: at most {most} MB can be imported. A zip archive of it may hold {inflated} MB.")
    return words.format(most=MOST_BYTES // 1_000_000, inflated=MOST_INFLATED_BYTES // 1_000_000)


def _unpack(content: bytes) -> bytes:
    """The JSON of a zip archive, as ChatGPT sends it, or the content itself."""
    if not content.startswith(b"PK\x03\x04"):
        return content
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            names = [name for name in archive.namelist() if name.endswith(".json")]
            name = next((one for one in names if one.endswith("conversations.json")), names[0] if names else "")
            if archive.getinfo(name).compress_type not in UNPACKED:
                raise zipfile.BadZipFile
            with archive.open(name) as file:
                inflated = file.read(MOST_INFLATED_BYTES + 1)
    except BROKEN_ARCHIVE:
        raise UnreadableFile(_("This archive holds no conversations that can be read.")) from None
    if len(inflated) > MOST_INFLATED_BYTES:
        raise UnreadableFile(_too_large())
    return inflated


def _within_limits(talks: list[Talk]) -> list[Talk]:
    if not talks:
        raise UnreadableFile(_("There are no conversations in this file."))
    if sum(len(talk.turns) for talk in talks) > MOST_MESSAGES:
        raise UnreadableFile(_("The file has more than {most} messages.").format(most=MOST_MESSAGES))
    for talk in talks:
        if len(talk.system_prompt) > settings.PROMPT_MAX_CHARACTERS:
            raise UnreadableFile(_("The system prompt of “{title}” is too long.").format(title=talk.title[:80]))
        if any(len(turn.text) > MOST_CHARACTERS for turn in talk.turns):
            raise UnreadableFile(
                _("A message of “{title}” has more than {most} characters.").format(
                    title=talk.title[:80], most=MOST_CHARACTERS
                )
            )
    return talks


def _read(entry: Any) -> Talk:
    """Raises KeyError, TypeError and the like where the entry is not as its format says."""
    if entry.get("format") == FORMAT:
        return _read_tally(entry)
    if "mapping" in entry:
        return _read_chatgpt(entry)
    if "history" in (entry.get("chat") or {}):
        return _read_open_webui(entry)
    raise UnreadableFile(_("This file has another format. Choose an export of Tally, ChatGPT or Open WebUI."))


def _read_tally(entry: dict[str, Any]) -> Talk:
    turns = [
        Turn(
            key=str(one["number"]),
            parent=None if one["follows"] is None else str(one["follows"]),
            role=Role(one["role"]).value,
            text=_text(one["text"]),
            author=_text(one.get("model") or ""),
            created_at=_moment(one.get("created_at")),
            rating=one.get("rating") if one.get("rating") in Rating.values and one["role"] == Role.ASSISTANT else None,
        )
        for one in entry["messages"]
    ]
    talk = Talk(
        _text(entry["title"]), "Tally", _text(entry.get("model") or ""), _text(entry.get("system_prompt") or "")
    )
    talk.created_at, talk.updated_at = _moment(entry.get("created_at")), _moment(entry.get("updated_at"))
    talk.tip = None if entry.get("shown") is None else str(entry["shown"])
    return _arrange(talk, {turn.key: turn.parent for turn in turns}, turns)


def _read_chatgpt(entry: dict[str, Any]) -> Talk:
    nodes: dict[str, Any] = entry["mapping"]
    turns = []
    for key, node in nodes.items():
        message = node.get("message") or {}
        role = (message.get("author") or {}).get("role")
        parts = (message.get("content") or {}).get("parts") or []
        text = _text("\n\n".join(part for part in parts if isinstance(part, str))).strip()
        if role in Role.values and text:
            author = _text((message.get("metadata") or {}).get("model_slug") or "")
            turns.append(Turn(key, None, role, text, author, _moment(message.get("create_time"))))
    talk = Talk(_text(entry.get("title") or ""), "ChatGPT", tip=entry.get("current_node"))
    talk.created_at, talk.updated_at = _moment(entry.get("create_time")), _moment(entry.get("update_time"))
    return _arrange(talk, {key: node.get("parent") for key, node in nodes.items()}, turns)


def _read_open_webui(entry: dict[str, Any]) -> Talk:
    chat = entry["chat"]
    nodes: dict[str, Any] = chat["history"]["messages"]
    turns = [
        Turn(
            key,
            None,
            node["role"],
            _text(node["content"]).strip(),
            _text(node.get("modelName") or node.get("model") or ""),
            _moment(node.get("timestamp")),
        )
        for key, node in nodes.items()
        if node.get("role") in Role.values and isinstance(node.get("content"), str) and node["content"].strip()
    ]
    talk = Talk(
        _text(entry.get("title") or chat.get("title") or ""), "Open WebUI", tip=chat["history"].get("currentId")
    )
    talk.created_at, talk.updated_at = _moment(entry.get("created_at")), _moment(entry.get("updated_at"))
    return _arrange(talk, {key: node.get("parentId") for key, node in nodes.items()}, turns)


def _arrange(talk: Talk, parents: dict[str, str | None], turns: list[Turn]) -> Talk:
    """Put the turns into the talk, parents first. A turn follows its nearest ancestor that is a turn itself.

    Raises ValueError for nodes that follow themselves.
    """
    kept = {turn.key: turn for turn in turns}
    nearest: dict[str, str | None] = {}  # of each node that is no turn, the turn above it
    depths: dict[str | None, int] = {None: 0}
    for turn in turns:
        turn.parent = _find_turn(parents.get(turn.key), parents, kept, nearest)
    if talk.tip is not None:
        talk.tip = _find_turn(talk.tip, parents, kept, nearest)
    for turn in turns:
        path: list[Turn] = []
        above: str | None = turn.key
        while above is not None and above not in depths:
            path.append(kept[above])
            if len(path) > len(turns):
                raise ValueError(above)
            above = kept[above].parent
        for one in reversed(path):
            depths[one.key] = depths[one.parent] + 1
    talk.turns = sorted(turns, key=lambda turn: depths[turn.key])
    return talk


def _find_turn(
    key: str | None, parents: dict[str, str | None], kept: dict[str, Turn], nearest: dict[str, str | None]
) -> str | None:
    """The node, or the first one above it that is a turn. Each node is passed once. Raises ValueError for a circle."""
    passed: list[str] = []
    while key is not None and key not in kept:
        if key in nearest:
            key = nearest[key]
            break
        nearest[key] = None
        passed.append(key)
        key = parents.get(key)
        if key in passed[:1] or len(passed) > len(parents) + 1:
            raise ValueError(key)
    nearest.update(dict.fromkeys(passed, key))
    return key


def _text(text: Any) -> str:
    """The text without what cannot be shown or stored. Raises TypeError for anything else."""
    if not isinstance(text, str):
        raise TypeError(text)
    return showable(text.encode("utf-8", "replace").decode())


def _moment(value: Any) -> datetime:
    """A time of a file, in seconds, milliseconds or nanoseconds, or as ISO 8601; now where it says none that can be."""
    now = timezone.now()
    try:
        if isinstance(value, str):
            moment = datetime.fromisoformat(value)
        else:
            seconds = float(value)
            if not math.isfinite(seconds):
                return now
            while seconds > 1e11:
                seconds /= 1000
            moment = datetime.fromtimestamp(seconds, UTC)
        return min(max(moment if moment.tzinfo else moment.replace(tzinfo=UTC), OLDEST), now)
    except (TypeError, ValueError, OverflowError, OSError):
        return now
