"""From a prompt in parts to token ids: the format's own parts may name control tokens, what people wrote never does.

Both are encoded as one text between two control tokens, so the ids are those that the model's authors get, who encode
the whole at once.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import nh3
from tokenizers import Tokenizer, pre_tokenizers

from inference.engine.checkpoint import TOKENIZER, CheckpointError

HTML_TAG = re.compile(r"</?([a-z][a-z0-9]*)>")


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a prompt. Control tokens are looked for in the format's own parts alone."""

    text: str
    is_of_the_format: bool = False


@dataclass(frozen=True, slots=True)
class ControlToken:
    """An added token that is no text. Some swallow the blanks before or behind them, as their authors' encoder does."""

    id: int
    strips_left: bool
    strips_right: bool


class PromptEncoder:
    """One model's tokenizer. Safe to share between threads."""

    def __init__(self, folder: Path, vocabulary: int) -> None:
        """Read `tokenizer.json` of a model's folder. `vocabulary` is how many tokens its embedding has.

        Raises CheckpointError, also where words of the tokenizer are missing in the embedding. A control token beyond
        it is fine as long as no prompt has it: Gemma 3 1B's tokenizer has one for images, which only its larger
        brothers read.
        """
        try:
            self.tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
        except Exception as error:  # the library raises this class itself
            raise CheckpointError(f"Its {TOKENIZER} cannot be read.") from error
        self.tokenizer.encode_special_tokens = (
            True  # the library's special tokens, when they stand in a text, stay text
        )
        self._controls = {
            token.content: ControlToken(number, bool(token.lstrip), bool(token.rstrip))
            for number, token in self.tokenizer.get_added_tokens_decoder().items()
            if is_control(token)
        }
        self._control_ids = frozenset(control.id for control in self._controls.values())
        self.vocabulary = vocabulary
        words = self.tokenizer.get_vocab(with_added_tokens=True).values()
        largest = max((number for number in words if number not in self._control_ids), default=-1)
        if largest >= vocabulary:
            raise CheckpointError(
                f"Its tokenizer has {largest + 1:,} tokens, its embedding {vocabulary:,}: they do not belong together."
            )
        _start_words_plainly(self.tokenizer)

    @cached_property
    def opening_ids(self) -> tuple[int, ...]:
        """What the tokenizer itself puts in front of every text, for most models one beginning-of-text token."""
        marked: list[int] = self.tokenizer.encode("x", add_special_tokens=True).ids
        plain: list[int] = self.tokenizer.encode("x", add_special_tokens=False).ids
        for start in range(len(marked) - len(plain) + 1):
            if marked[start : start + len(plain)] == plain:
                return tuple(marked[:start])
        return ()

    def encode(self, parts: Iterable[Part]) -> list[int]:
        """The ids of a prompt. Raises CheckpointError for a tokenizer that turns plain text into a control token, and
        for a format that names a token beyond the embedding."""
        ids: list[int] = []
        text = ""
        strips_right = False
        for piece in self._pieces(parts):
            if isinstance(piece, str):
                piece = piece.lstrip() if strips_right and not text else piece  # noqa: PLW2901
                text += piece
                continue
            ids += self._encode_text(text.rstrip() if piece.strips_left else text)
            ids.append(piece.id)
            text, strips_right = "", piece.strips_right
        ids += self._encode_text(text)
        if max(ids, default=0) >= self.vocabulary:
            raise CheckpointError("Its chat template names a token that its embedding does not have.")
        return ids

    def _pieces(self, parts: Iterable[Part]) -> Iterator[str | ControlToken]:
        """The text and the control tokens of a prompt, in their order."""
        for part in parts:
            if not part.is_of_the_format:
                yield part.text
                continue
            position = 0
            while (found := self._find_control(part.text, position)) is not None:
                start, content = found
                yield part.text[position:start]
                yield self._controls[content]
                position = start + len(content)
            yield part.text[position:]

    def _encode_text(self, text: str) -> list[int]:
        """The ids of text that has no control tokens, whatever it looks like."""
        ids = [
            number for piece in self._cut(text) for number in self.tokenizer.encode(piece, add_special_tokens=False).ids
        ]
        if not self._control_ids.isdisjoint(ids):
            raise CheckpointError("Its tokenizer turns plain text into control tokens.")
        return ids

    def _cut(self, text: str) -> Iterator[str]:
        """The text, cut behind the first character of whatever spells a control token: no piece holds a whole one."""
        position = 0
        while (found := self._find_control(text, position)) is not None:
            start, _content = found
            yield text[position : start + 1]
            position = start + 1
        yield text[position:]

    def _find_control(self, text: str, position: int) -> tuple[int, str] | None:
        """The first control token that stands in the text from `position` on, the longest where several begin."""
        if not self._controls:
            return None
        while (found := self._first_characters.search(text, position)) is not None:
            start = found.start()
            for length in self._lengths:
                content = text[start : start + length]
                if content in self._controls:
                    return start, content
            position = start + 1
        return None

    @cached_property
    def _first_characters(self) -> re.Pattern[str]:
        return re.compile(f"[{re.escape(''.join(sorted({content[0] for content in self._controls})))}]")

    @cached_property
    def _lengths(self) -> list[int]:
        return sorted({len(content) for content in self._controls}, reverse=True)


def is_control(token: Any) -> bool:
    """Whether an added token is more than text. Vocabularies have words of text among them: blanks, tags of HTML."""
    content: str = token.content
    if token.special:
        return bool(content)
    tag = HTML_TAG.fullmatch(content)
    is_text = not content.strip() or (tag is not None and tag[1] in nh3.ALLOWED_TAGS)
    return not is_text and len(content) > 1


def _start_words_plainly(tokenizer: Tokenizer) -> None:
    """Some tokenizers put a blank before the first word of a text. A prompt begins with a token of the format, behind
    which their authors' encoder puts none; our texts between two control tokens would each get one."""
    steps = tokenizer.pre_tokenizer
    if isinstance(steps, pre_tokenizers.Metaspace) and steps.prepend_scheme == "first":
        steps.prepend_scheme = "never"
