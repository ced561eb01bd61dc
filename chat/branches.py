"""The branches of a conversation: which message follows which, and which of them a page shows.

A message follows its parent. Messages with the same parent are versions of each other: an answer that was written
again, or a prompt that was edited. A message that `is_first` has no parent and begins a version of the whole
conversation.

A message that neither is first nor has a parent was written before there were branches. An answer of that kind follows
the last prompt before it, and a prompt the message before it.
"""

from dataclasses import dataclass, field

from chat.models import Conversation, Message, Role
from inference.models import Generation


@dataclass(slots=True)
class Branches:
    """The messages of one conversation as a tree, by their ids. `tip` is the end of the branch that is shown."""

    tip: int | None = None
    parents: dict[int, int | None] = field(default_factory=dict)
    children: dict[int | None, list[int]] = field(default_factory=dict)

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


def read_branches(conversation: Conversation) -> Branches:
    """The tree of a conversation's messages, in one query."""
    branches = Branches()
    before: int | None = None
    prompt: int | None = None
    is_old = False
    for message in conversation.messages.order_by("pk").only("pk", "parent", "is_first", "role"):
        is_old = message.parent_id is None and not message.is_first
        followed = before if message.role == Role.USER else prompt
        parent = followed if is_old else message.parent_id
        branches.parents[message.pk] = parent
        branches.children.setdefault(parent, []).append(message.pk)
        before = message.pk
        if message.role == Role.USER:
            prompt = message.pk
    branches.tip = before if is_old or conversation.tip_id is None else conversation.tip_id
    return branches


def shown_messages(conversation: Conversation) -> list[Message]:
    """The messages of the branch that is shown, the first one first. Takes two queries."""
    path = read_branches(conversation).path()
    found = conversation.messages.in_bulk(path)
    return [found[message_id] for message_id in path]


def show_branch(*, conversation: Conversation, message_id: int) -> bool:
    """Let the page show the latest branch through this message, unless it is shown, and return whether it is now.

    While an answer is being written, the branch stays: the page would lose the answer.
    """
    branches = read_branches(conversation)
    if message_id not in branches.parents:
        return False
    if message_id in branches.path():
        return True
    if Generation.objects.live().filter(message__conversation=conversation).exists():
        return False
    Conversation.objects.filter(pk=conversation.pk).update(tip=branches.latest_tip(message_id))
    return True
