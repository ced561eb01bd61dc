"""Prompts: checking what people wrote, and turning a conversation into Gemma's token ids, without torch."""

import threading
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from django.conf import settings
from django.utils.translation import gettext as _
from tokenizers import Tokenizer

from inference.catalogue import ModelUnavailable, find_weights
from inference.models import CatalogueModel

BOS, START_OF_TURN, END_OF_TURN = 2, 105, 106  # Gemma 3's control tokens
_tokenizers: dict[tuple[Path, str, str], Tokenizer] = {}  # by where the weights were looked for
_loading = threading.Lock()


class InvalidPrompt(Exception):
    """The text cannot be sent; the message says why and what to do."""


class PromptTooLong(InvalidPrompt):
    """It leaves no room for an answer in the model's context window."""


@dataclass(frozen=True, slots=True)
class Turn:
    """What one side said."""

    role: Literal["user", "model"]
    text: str


@dataclass(frozen=True, slots=True)
class RawText:
    """A text to go on with as it stands, without turns; only the API offers it."""

    text: str


Prompt = Sequence[Turn] | RawText


def clean_prompt(text: str) -> str:
    """Return the text without blanks around it. Raises InvalidPrompt for one that cannot be sent."""
    text = text.replace("\r\n", "\n").strip()
    if not text:
        raise InvalidPrompt(_("Write something first."))
    if len(text) > settings.PROMPT_MAX_CHARACTERS:
        raise InvalidPrompt(
            _("Your message has {count:,} characters; at most {limit:,} can be sent.").format(
                count=len(text), limit=settings.PROMPT_MAX_CHARACTERS
            )
        )
    if "\ufffd" in text or any(unicodedata.category(c) == "Cs" for c in text):
        raise InvalidPrompt(_("Your message is not valid UTF-8 text. Paste it again as plain text."))
    control = next((c for c in text if unicodedata.category(c) == "Cc" and c not in "\n\t"), None)
    if control is not None:
        raise InvalidPrompt(
            _("Your message has a control character (U+{code:04X}). Remove it and send again.").format(
                code=ord(control)
            )
        )
    return text


def encode_conversation(*, model: CatalogueModel, turns: Sequence[Turn]) -> list[int]:
    """Gemma's turn format, ready for the answer: `<bos>`, then for each turn its role and text between turn marks.

    What people wrote is encoded without control tokens, so nobody can forge a turn by typing `<end_of_turn>`.
    Raises ModelUnavailable when the tokenizer is not on this machine.
    """
    tokenizer = _tokenizer_of(model)
    newline = tokenizer.encode("\n", add_special_tokens=False).ids
    ids = [BOS]
    for turn in turns:
        said = tokenizer.encode(f"{turn.role}\n{turn.text.strip()}", add_special_tokens=False).ids
        ids += [START_OF_TURN, *said, END_OF_TURN, *newline]
    return [*ids, START_OF_TURN, *tokenizer.encode("model\n", add_special_tokens=False).ids]


def merge_turns(turns: Sequence[Turn]) -> list[Turn]:
    """Gemma expects the sides to take turns: what one side said twice in a row becomes one turn."""
    merged: list[Turn] = []
    for turn in turns:
        if merged and merged[-1].role == turn.role:
            turn = Turn(turn.role, f"{merged.pop().text}\n\n{turn.text}")  # noqa: PLW2901
        merged.append(turn)
    return merged


def turns_of(messages: Sequence[tuple[str, str]]) -> list[Turn]:
    """The turns of an API client's messages, each (role, text) with the role system, developer, user or assistant.

    Gemma has no system role: what the system says leads the user's next turn, as in Gemma's own template. Raises
    InvalidPrompt when nothing is said, or when the assistant has the last word.
    """
    turns = [Turn("model" if role == "assistant" else "user", text) for role, text in messages if text.strip()]
    if not turns:
        raise InvalidPrompt(_("All messages are empty. Write something."))
    if turns[-1].role == "model":
        raise InvalidPrompt(_("The last message is the assistant's own. End with what it should answer."))
    return merge_turns(turns)


def encode_prompt(*, model: CatalogueModel, prompt: Prompt) -> list[int]:
    """The token ids of either kind of prompt. A raw text gets `<bos>` and nothing else, and is never stripped.

    Raises ModelUnavailable when the tokenizer is not on this machine.
    """
    if isinstance(prompt, RawText):
        return [BOS, *_tokenizer_of(model).encode(prompt.text, add_special_tokens=False).ids]
    return encode_conversation(model=model, turns=prompt)


def completion_room(model: CatalogueModel, prompt_tokens: int, asked: int | None) -> int:
    """How many tokens the answer may have: by the request, the model, and what the context window leaves.

    Raises PromptTooLong, saying by how many tokens the prompt is too long, when it leaves none.
    """
    room = model.context_tokens - prompt_tokens
    if room < 1:
        raise PromptTooLong(
            _(
                "The conversation is {over:,} tokens too long: it has {count:,}, and {name} takes at most "
                "{limit:,} including the answer. Shorten it or start a new chat."
            ).format(over=1 - room, count=prompt_tokens, name=model.name, limit=model.context_tokens)
        )
    return min(asked or settings.DEFAULT_MAX_TOKENS, model.max_completion_tokens, room)


def warm_up() -> None:
    """Load the tokenizers of the available models: 2 s once, so that no customer waits for it."""
    for model in CatalogueModel.objects.offered().filter(unavailable_reason=""):
        try:
            _tokenizer_of(model)
        except ModelUnavailable:
            continue


def _tokenizer_of(model: CatalogueModel) -> Tokenizer:
    place = (settings.MODEL_DIR, model.key, model.source)
    with _loading:
        if place not in _tokenizers:
            folder = find_weights(key=model.key, source=model.source)
            tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
            tokenizer.encode_special_tokens = True  # text that looks like a control token stays text
            _tokenizers[place] = tokenizer
        return _tokenizers[place]
