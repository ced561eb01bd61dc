"""Renders chat templates safely, with markers instead of the users' texts.

A template is a program that came with a model. So it runs in a process of its own, without our environment variables
and with limits of time, memory and output. It never sees users' texts: each message is a marker, and the text between
the markers is the template's own. That text depends only on the roles, so it is cached. One process renders a block
of conversation lengths, and a web process renders the first block when it starts, so new processes are rare.
"""

import json
import re
import subprocess
import sys
import threading
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Literal

CHILD = Path(__file__).with_name("template_child.py")
SECONDS = 5  # of processor time for one block; today's templates need a few hundredths of a second
MEMORY_BYTES = 512 * 1024**2
MOST_CHARACTERS = 1_000_000  # that a template may write around one conversation
BLOCK_TURNS = 64  # a block has the conversations of so many lengths

OPEN, CLOSE = "\ue000", "\ue001"  # private-use characters around the number of a message in its marker
BLANK = "\x1f"  # templates strip it as any other blank, and never write it themselves
MARKER = re.compile(f"({BLANK}?){OPEN}([0-9]+){CLOSE}({BLANK}?)")

Role = Literal["user", "assistant"]


class TemplateBroken(Exception):
    """The chat template cannot be used; the text says why, for operators."""


class ConversationRefused(Exception):
    """The template does not take a conversation of this shape; the text is the template's own words."""


class SystemNotPlaced(Exception):
    """The template has no place for a system prompt."""


@dataclass(frozen=True, slots=True)
class Template:
    """A chat template and the strings of the special tokens that it may name."""

    source: str
    special_tokens: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Shape:
    """The roles in a conversation: with or without a system prompt, the role of the first turn, the number of turns."""

    has_system: bool
    first: Role
    turns: int

    def messages(self) -> list[dict[str, str]]:
        """The conversation as templates expect it, with a marker between two blanks as each text."""
        roles = ["system"] if self.has_system else []
        sides = ("user", "assistant") if self.first == "user" else ("assistant", "user")
        roles += [sides[number % 2] for number in range(self.turns)]
        return [{"role": role, "content": f"{BLANK}{OPEN}{number}{CLOSE}{BLANK}"} for number, role in enumerate(roles)]


@dataclass(frozen=True, slots=True)
class Slot:
    """The place of a message's text. The template may strip the blanks at the start or the end of the text."""

    number: int
    strips_start: bool
    strips_end: bool

    def fill(self, text: str) -> str:
        """The text as the template would have written it."""
        text = text.lstrip() if self.strips_start else text
        return text.rstrip() if self.strips_end else text


Frame = tuple[str | Slot, ...]  # the template's own text, and the slots in between, one for each message


def render(template: Template, shape: Shape) -> Frame:
    """What the template writes around a conversation of this shape, up to where the answer begins.

    Raises TemplateBroken, ConversationRefused or SystemNotPlaced.
    """
    block = (shape.turns - 1) // BLOCK_TURNS
    outcomes = _block_of(template, shape, block)
    outcome = outcomes[(shape.turns - 1) % BLOCK_TURNS // 2]
    if isinstance(outcome, Exception):
        raise type(outcome)(*outcome.args)
    return outcome


_rendering = threading.Lock()  # one process at a time; a thread that waited finds the result in the cache


def _block_of(template: Template, shape: Shape, block: int) -> tuple[Frame | Exception, ...]:
    parity = (shape.turns - 1) % 2
    lengths = range(block * BLOCK_TURNS + 1 + parity, (block + 1) * BLOCK_TURNS + 1, 2)
    shapes = tuple(Shape(shape.has_system, shape.first, turns) for turns in lengths)
    today = date.today().isoformat() if "strftime_now" in template.source else ""  # noqa: DTZ011  see the child
    with _rendering:
        return _render_all(template, shapes, today)


@lru_cache(maxsize=512)
def _render_all(template: Template, shapes: tuple[Shape, ...], _today: str) -> tuple[Frame | Exception, ...]:
    request = {
        "template": template.source,
        "special_tokens": dict(template.special_tokens),
        "conversations": [shape.messages() for shape in shapes],
        "limits": {"seconds": SECONDS, "memory_bytes": MEMORY_BYTES, "characters": MOST_CHARACTERS},
    }
    try:
        answers = _run(json.dumps(request))
    except TemplateBroken as broken:
        return (broken,) * len(shapes)
    return tuple(_outcome(shape, answer) for shape, answer in zip(shapes, answers, strict=True))


def _run(request: str) -> list[dict[str, str]]:
    """Have the child process render. Raises TemplateBroken if the child does not end or fails."""
    try:
        child = subprocess.run(
            [sys.executable, "-I", str(CHILD)],
            input=request,
            capture_output=True,
            text=True,
            timeout=4 * SECONDS,
            env={"LANG": "C.UTF-8"},
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise TemplateBroken(f"Its chat template did not end within {4 * SECONDS} seconds.") from None
    if child.returncode < 0:  # a signal: the limit of processor time
        raise TemplateBroken(f"Its chat template did not end within {SECONDS} seconds of processor time.")
    try:
        answers: list[dict[str, str]] = json.loads(child.stdout)
    except ValueError:
        raise TemplateBroken("Its chat template could not be rendered: it needs too much memory or time.") from None
    return answers


def _outcome(shape: Shape, answer: dict[str, str]) -> Frame | Exception:
    if "error" in answer:
        return TemplateBroken(f"Its chat template cannot be used. {answer['error']}.")
    if "refused" in answer:
        return ConversationRefused(answer["refused"])
    return _frame(shape, answer["text"])


def _frame(shape: Shape, text: str) -> Frame | Exception:
    """Replace the markers in a rendered conversation by slots. Each message must be there exactly once.

    The template decides their order: some put the system prompt into the last turn.
    """
    frame: list[str | Slot] = []
    position = 0
    for found in MARKER.finditer(text):
        frame.append(text[position : found.start()])
        frame.append(Slot(int(found[2]), strips_start=not found[1], strips_end=not found[3]))
        position = found.end()
    frame.append(text[position:])
    numbers = [part.number for part in frame if isinstance(part, Slot)]
    expected = list(range(shape.turns + shape.has_system))
    if shape.has_system and numbers == expected[1:]:
        return SystemNotPlaced()
    if sorted(numbers) != expected:
        return TemplateBroken("Its chat template leaves out or repeats what is said in a conversation.")
    return tuple(part for part in frame if part != "")
