"""The branches of a conversation: which message follows which, and which of them a page shows.

A message follows its parent. Messages with the same parent are versions of each other: an answer that was written
again, or a prompt that was edited. A message that `is_first` has no parent and begins a version of the whole
conversation.

A message that neither is first nor has a parent was written before there were branches. An answer of that kind follows
the last prompt before it, and a prompt the message before it.

An answer that follows an answer continues it: for the model, and on the page, both are one text.
"""

from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter

from django.utils.translation import gettext as _

from chat.models import Conversation, Message, Role
from inference.models import GenerationState
from inference.prompting.conversation import Turn


class MessageGone(Exception):
    """The message was deleted meanwhile, for example in another tab."""


@dataclass(slots=True)
class Branches:
    """The messages of one conversation as a tree, by their ids. `tip` is the end of the branch that is shown."""

    tip: int | None = None
    parents: dict[int, int | None] = field(default_factory=dict)
    children: dict[int | None, list[int]] = field(default_factory=dict)
    answers: set[int] = field(default_factory=set)
    unrecorded: set[int] = field(default_factory=set)  # messages whose rows do not say what they follow

    def require(self, message_id: int) -> None:
        """Raise MessageGone if the conversation has no such message any more."""
        if message_id not in self.parents:
            raise MessageGone(_("This message was deleted meanwhile. Reload the page."))

    def path(self, message_id: int | None = None) -> list[int]:
        """The ids of the branch that ends with this message, or of the branch that is shown, the first one first."""
        at = self.tip if message_id is None else message_id
        path: list[int] = []
        while at is not None:
            path.append(at)
            at = self.parents[at]
        return path[::-1]

    def versions(self, message_id: int) -> list[int]:
        """The ids of this message and its other versions, the oldest first."""
        return self.children[self.parents[message_id]]

    def latest_tip(self, message_id: int) -> int:
        """The end of the latest branch through this message."""
        while self.children.get(message_id):
            message_id = self.children[message_id][-1]
        return message_id

    def end_of(self, seen_id: int) -> int:
        """The end of the branch of somebody who saw `seen_id` as its end: more may have been added since."""
        return self.tip if self.tip is not None and seen_id in self.path() else seen_id

    def prompt_of(self, message_id: int) -> int:
        """The prompt that this message answers, or the message itself if it is a prompt."""
        while message_id in self.answers and (parent := self.parents[message_id]) is not None:
            message_id = parent
        return message_id

    def answer_begins(self, message_id: int) -> int:
        """The first part of an answer that was continued, or the message itself."""
        while message_id in self.answers and (parent := self.parents[message_id]) in self.answers:
            message_id = parent
        return message_id

    def exchange(self, prompt_id: int) -> list[int]:
        """A prompt, all versions of its answer, and all that continues these."""
        found, waiting = [prompt_id], [prompt_id]
        while waiting:
            answers = [child for child in self.children.get(waiting.pop(), ()) if child in self.answers]
            found += answers
            waiting += answers
        return found


@dataclass(frozen=True, slots=True)
class Place:
    """Where a prompt goes: to the end of the branch that is shown, unless one of these ids says otherwise.

    `seen` is the last message that its author saw: the prompt goes to the end of that branch, even if another tab shows
    another one meanwhile. `in_place_of` is a prompt: the new one becomes another version of it.
    """

    seen: int | None = None
    in_place_of: int | None = None

    def parent_in(self, branches: Branches) -> int | None:
        """The message that the prompt follows; None if it is to be the first. Raises MessageGone."""
        for message_id in (self.in_place_of, self.seen):
            if message_id is not None:
                branches.require(message_id)
        if self.in_place_of is not None:
            return branches.parents[branches.prompt_of(self.in_place_of)]
        return branches.tip if self.seen is None else branches.end_of(self.seen)


AT_THE_END = Place()


def read_branches(conversation: Conversation) -> Branches:
    """The tree of a conversation's messages, in one query."""
    branches = Branches()
    before: int | None = None
    prompt: int | None = None
    is_old = False
    rows = conversation.messages.order_by("pk").values_list("pk", "parent", "is_first", "role")
    for message_id, parent_id, is_first, role in rows.iterator(chunk_size=5_000):
        is_old = parent_id is None and not is_first
        followed = before if role == Role.USER else prompt
        parent = followed if is_old else parent_id
        branches.parents[message_id] = parent
        branches.children.setdefault(parent, []).append(message_id)
        before = message_id
        if is_old:
            branches.unrecorded.add(message_id)
        if role == Role.USER:
            prompt = message_id
        else:
            branches.answers.add(message_id)
    branches.tip = before if is_old or conversation.tip_id is None else conversation.tip_id
    return branches


def record_parents(branches: Branches) -> None:
    """Write down what messages from before branches follow. Lock the conversation first."""
    rows = [
        Message(pk=message_id, parent_id=branches.parents[message_id], is_first=branches.parents[message_id] is None)
        for message_id in branches.unrecorded
    ]
    Message.objects.bulk_update(rows, ["parent", "is_first"], batch_size=500)
    branches.unrecorded.clear()


def shown_messages(conversation: Conversation) -> list[Message]:
    """The messages of the branch that is shown, the first one first. Takes two queries."""
    path = read_branches(conversation).path()
    found = conversation.messages.select_related("generation__model").in_bulk(path)
    return [found[message_id] for message_id in path]


def read_turns(conversation: Conversation, path: list[int]) -> list[Turn]:
    """What a model sees of the messages with these ids, without answers that failed or are empty.

    An answer and what continues it are one turn.
    """
    seen = conversation.messages.filter(pk__in=path).exclude(generation__state=GenerationState.FAILED)
    seen = seen.exclude(role=Role.ASSISTANT, text="")
    found = {message_id: (role, text) for message_id, role, text in seen.values_list("pk", "role", "text")}
    turns: list[Turn] = []
    for role, run in groupby((found[message_id] for message_id in path if message_id in found), key=itemgetter(0)):
        texts = [text for _role, text in run]
        if role == Role.USER:
            turns += [Turn("user", text) for text in texts]
        else:
            turns.append(Turn("assistant", "".join(texts)))
    return turns
