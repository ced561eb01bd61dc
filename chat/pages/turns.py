"""A branch of a conversation as its page shows it: turns with their versions.

The page begins with the latest messages. Earlier ones are fetched on demand.
"""

from dataclasses import dataclass, field
from itertools import pairwise
from uuid import UUID, uuid4

from billing.ledger.charges import refunded_of
from chat.branches import Branches, read_branches
from chat.messages import is_continuable
from chat.models import Conversation, Message, Role
from inference.models import Generation, GenerationState

PAGE_MESSAGES = 50  # messages of a branch that the page shows at once
LONG_LINES, LONG_CHARACTERS = 12, 1_500  # from here on a prompt is folded


@dataclass(frozen=True, slots=True)
class Switcher:
    """Which of its versions a message is. `before` and `after` are the ids of its neighbours, None at the ends.

    `place` is the same for all versions, so that a browser keeps the focus when another one is shown.
    """

    place: str
    number: int
    count: int
    before: int | None
    after: int | None


@dataclass(slots=True)
class Turn:
    """A prompt, or an answer with all parts that continue it. `key` makes a double click on its buttons harmless."""

    parts: list[Message]
    switchers: list[Switcher]
    key: UUID = field(default_factory=uuid4)

    @property
    def first(self) -> Message:
        """The prompt, or the first part of the answer, which is also the one that is marked."""
        return self.parts[0]

    @property
    def last(self) -> Message:
        """The prompt, or the last part of the answer."""
        return self.parts[-1]

    @property
    def is_prompt(self) -> bool:
        """Whether the customer wrote it."""
        return self.first.role == Role.USER

    @property
    def text(self) -> str:
        """The text of all parts."""
        return "".join(part.text for part in self.parts)

    @property
    def lines(self) -> int:
        """How many lines the text has."""
        return self.first.text.count("\n") + 1

    @property
    def is_long(self) -> bool:
        """Whether a prompt is folded."""
        return self.lines > LONG_LINES or len(self.first.text) > LONG_CHARACTERS

    @property
    def generation(self) -> Generation | None:
        """The generation of the answer's last part."""
        return self.last.generation

    @property
    def is_continuable(self) -> bool:
        """Whether the answer can be continued."""
        return self.generation is not None and is_continuable(self.generation)

    @property
    def is_to_be_retried(self) -> bool:
        """Whether the answer, or its last part, was not written to its end by our fault or before it began."""
        return self.last.generation is not None and self.last.generation.state in (
            GenerationState.FAILED,
            GenerationState.CANCELLED,
        )


@dataclass(frozen=True, slots=True)
class Shown:
    """Some turns of the branch that is shown. `tip` is its last message; `earlier` is how many come before these."""

    turns: list[Turn]
    tip: int | None = None
    earlier: int = 0
    is_latest: bool = True


def read_shown(talk: Conversation, before: int | None = None) -> Shown:
    """The last turns of the branch that is shown, or those before the message `before`. Takes two queries."""
    branches = read_branches(talk)
    path = branches.path()
    end = path.index(before) if before in path else len(path)
    start = max(0, end - PAGE_MESSAGES)
    while 0 < start < end and path[start] in branches.answers:
        start -= 1  # an answer is not shown without its prompt
    turns = _group(talk, branches, path[start:end])
    return Shown(turns, branches.tip, start, is_latest=end == len(path))


def address_in(branches: Branches, message_id: int) -> str:
    """What leads from the address of a conversation to one of its messages on the branch that is shown; or nothing.

    A message before the latest ones is on a page that ends some messages after it.
    """
    path = branches.path()
    if message_id not in path:
        return ""
    at = path.index(message_id)
    anchor = next((before for before, after in pairwise(path[at:]) if after not in branches.answers), path[-1])
    if message_id not in branches.answers:
        anchor = message_id
    later = [one for one in path[at + PAGE_MESSAGES // 2 :] if one not in branches.answers]
    is_shown_at_once = at >= len(path) - PAGE_MESSAGES or not later
    return f"#message-{anchor}" if is_shown_at_once else f"?before={later[0]}#message-{anchor}"


def read_turn(answer: Message) -> Shown:
    """The turn of one answer, with the parts before it. Takes two queries."""
    branches = read_branches(answer.conversation)
    path = branches.path(answer.pk)
    start = path.index(branches.answer_begins(answer.pk))
    return Shown(_group(answer.conversation, branches, path[start:]), branches.tip)


def read_exchange(talk: Conversation, message_ids: list[int]) -> Shown:
    """The turns of these messages. Takes two queries."""
    branches = read_branches(talk)
    return Shown(_group(talk, branches, message_ids), branches.tip)


def _group(talk: Conversation, branches: Branches, path: list[int]) -> list[Turn]:
    """The turns of these messages, in one query; each answer has its charge and the refunded amount."""
    messages = talk.messages.filter(pk__in=path).select_related("generation__model", "generation__hold")
    found = messages.annotate(refunded_microcredits=refunded_of("generation__hold")).in_bulk()
    turns: list[Turn] = []
    for message_id in path:
        switcher = _switcher_of(branches, message_id)
        if message_id in branches.answers and turns and not turns[-1].is_prompt:
            turns[-1].parts.append(found[message_id])
            turns[-1].switchers += switcher
        else:
            turns.append(Turn([found[message_id]], switcher))
    return turns


def _switcher_of(branches: Branches, message_id: int) -> list[Switcher]:
    """The switcher of a message that has other versions, in a list; an empty list without others."""
    versions = branches.versions(message_id)
    if len(versions) == 1:
        return []
    number = versions.index(message_id)
    before = versions[number - 1] if number else None
    after = versions[number + 1] if number + 1 < len(versions) else None
    return [Switcher(str(branches.parents[message_id] or "first"), number + 1, len(versions), before, after)]
