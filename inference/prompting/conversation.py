"""What people said, in the terms that every prompt format shares."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Turn:
    """What one side said."""

    role: Literal["user", "assistant"]
    text: str


@dataclass(frozen=True, slots=True)
class Conversation:
    """A system prompt, empty for none, and turns of the two sides that alternate; at least one.

    Where the assistant has the last word, the answer goes on with it.
    """

    turns: Sequence[Turn]
    system: str = ""

    @property
    def is_continued(self) -> bool:
        """Whether the answer goes on with what the assistant said last."""
        return self.turns[-1].role == "assistant"


@dataclass(frozen=True, slots=True)
class RawText:
    """A text to go on with as it stands, without turns; only the API offers it."""

    text: str


Prompt = Conversation | RawText


def alternate(turns: Sequence[Turn]) -> list[Turn]:
    """Models expect the sides to take turns: what one side said twice in a row becomes one turn."""
    merged: list[Turn] = []
    for turn in turns:
        if merged and merged[-1].role == turn.role:
            turn = Turn(turn.role, f"{merged.pop().text}\n\n{turn.text}")  # noqa: PLW2901
        merged.append(turn)
    return merged
