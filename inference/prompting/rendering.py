"""Renders chat templates safely: what a template writes around a conversation, without what people wrote.

A template is a program that came with a model, so it is run in a process of its own, without our environment, with
limits of time, memory and output. It never sees what people wrote: each message is a marker, and what lies between the
markers is the template's own. That depends on the roles alone, so it is kept, and a conversation seldom needs a new
process: one renders all lengths of a block, and a web process renders the first block when it starts.
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
SECONDS = 5  # of a processor, for one block; a template of today needs some hundredths
MEMORY_BYTES = 512 * 1024**2
MOST_CHARACTERS = 1_000_000  # that a template writes around one conversation
BLOCK_TURNS = 64  # lengths that are rendered together

OPEN, CLOSE = "\ue000", "\ue001"  # private characters around the number of a message
BLANK = "\x1f"  # stripped as any other blank, and used by no template of its own
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
    """Who speaks in a conversation: a system prompt first or none, then turns of two sides that alternate."""

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
    """Where a message's text goes. The template may take the blanks off its beginning or its end."""

    number: int
    strips_start: bool
    strips_end: bool

    def fill(self, text: str) -> str:
        """The text as the template would have put it."""
        text = text.lstrip() if self.strips_start else text
        return text.rstrip() if self.strips_end else text


Frame = tuple[str | Slot, ...]  # the template's own text, and the slots in between, one for each message


def render(template: Template, shape: Shape) -> Frame:
    """What the template writes around a conversation of this shape, ready for the answer.

    Raises TemplateBroken, ConversationRefused or SystemNotPlaced.
    """
    block = (shape.turns - 1) // BLOCK_TURNS
    outcomes = _block_of(template, shape, block)
    outcome = outcomes[(shape.turns - 1) % BLOCK_TURNS // 2]
    if isinstance(outcome, Exception):
        raise type(outcome)(*outcome.args)
    return outcome


_rendering = threading.Lock()  # one process at a time; who waits finds what the other one rendered


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
    """Have the child render. Raises TemplateBroken when it does not come to an end."""
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
    """Take the markers out of a rendered conversation: each message has to be there once. The order is the template's:
    some put the system prompt into the last turn."""
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
