"""Prompts in a form that does not depend on a model's format: conversations and raw texts."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal


@dataclass(frozen=True, slots=True)
class Turn:
    """One message of the user or the assistant."""

    role: Literal["user", "assistant"]
    text: str


@dataclass(frozen=True, slots=True)
class Conversation:
    """A system prompt (empty for none) and at least one turn. The roles of the turns alternate.

    If the last turn is the assistant's, the answer continues its text.
    """

    turns: Sequence[Turn]
    system: str = ""

    @property
    def is_continued(self) -> bool:
        """Whether the last turn is the assistant's, so that the answer continues it."""
        return self.turns[-1].role == "assistant"


@dataclass(frozen=True, slots=True)
class RawText:
    """A text that the model continues as it stands, without turns. Only the API offers it."""

    text: str


Prompt = Conversation | RawText


def alternate(turns: Sequence[Turn]) -> list[Turn]:
    """Merge consecutive turns of the same role into one, since models expect roles to alternate."""
    runs = groupby(turns, key=lambda turn: turn.role)
    return [Turn(role, "\n\n".join(turn.text for turn in run)) for role, run in runs]
