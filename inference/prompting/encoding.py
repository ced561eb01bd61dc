"""Encodes the parts of a prompt to token ids. Only parts of the format can become control tokens, never users' texts.

All text between two control tokens is encoded together, whichever parts it comes from. So the ids are the same as those
of the model's authors, who encode the whole prompt as one text.
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
    """A piece of a prompt. Only in pieces of the format are control tokens recognised."""

    text: str
    is_of_the_format: bool = False


@dataclass(frozen=True, slots=True)
class ControlToken:
    """An added token that is not text. Some remove the blanks before or after them, as the authors' encoder does."""

    id: int
    strips_left: bool
    strips_right: bool


class PromptEncoder:
    """One model's tokenizer. Safe to share between threads."""

    def __init__(self, folder: Path, vocabulary: int) -> None:
        """Read `tokenizer.json` of a model's folder. `vocabulary` is how many tokens its embedding has.

        Raises CheckpointError, also if the embedding lacks tokens of text. It may lack a control token as long as no
        prompt has it: Gemma 3 1B's tokenizer has one for images, which only the larger models use.
        """
        try:
            self.tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
        except Exception as error:  # the library raises this class itself
            raise CheckpointError(f"Its {TOKENIZER} cannot be read.") from error
        self.tokenizer.encode_special_tokens = (
            True  # encode the names of special tokens as text; control tokens are found here, not by the library
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
        """The ids that the tokenizer puts in front of every text; for most models one beginning-of-text token."""
        marked: list[int] = self.tokenizer.encode("x", add_special_tokens=True).ids
        plain: list[int] = self.tokenizer.encode("x", add_special_tokens=False).ids
        for start in range(len(marked) - len(plain) + 1):
            if marked[start : start + len(plain)] == plain:
                return tuple(marked[:start])
        return ()

    def encode(self, parts: Iterable[Part]) -> list[int]:
        """The ids of a prompt.

        Raises CheckpointError if the tokenizer turns plain text into a control token, or if the format has a token that
        the embedding lacks.
        """
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
        """The ids of a text in which nothing is a control token, even if it looks like one."""
        ids = [
            number for piece in self._cut(text) for number in self.tokenizer.encode(piece, add_special_tokens=False).ids
        ]
        if not self._control_ids.isdisjoint(ids):
            raise CheckpointError("Its tokenizer turns plain text into control tokens.")
        return ids

    def _cut(self, text: str) -> Iterator[str]:
        """The text in pieces, cut after the first character of each control token's name: no piece has a whole name."""
        position = 0
        while (found := self._find_control(text, position)) is not None:
            start, _content = found
            yield text[position : start + 1]
            position = start + 1
        yield text[position:]

    def _find_control(self, text: str, position: int) -> tuple[int, str] | None:
        """Start and name of the first control token in the text from `position` on; the longest of several there."""
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
    """Whether an added token is a control token. Some added tokens are ordinary text: runs of blanks, HTML tags."""
    content: str = token.content
    if token.special:
        return bool(content)
    tag = HTML_TAG.fullmatch(content)
    is_text = not content.strip() or (tag is not None and tag[1] in nh3.ALLOWED_TAGS)
    return not is_text and len(content) > 1


def _start_words_plainly(tokenizer: Tokenizer) -> None:
    """Stop a tokenizer from putting a blank before the first word of a text, as some do.

    The authors' encoder puts none after a control token. But we encode the text between two control tokens separately,
    so each of these texts would get a blank.
    """
    steps = tokenizer.pre_tokenizer
    if isinstance(steps, pre_tokenizers.Metaspace) and steps.prepend_scheme == "first":
        steps.prepend_scheme = "never"
