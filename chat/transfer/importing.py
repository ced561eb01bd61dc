"""Writes the conversations of a file into the database. Nothing is charged: answers come without a generation."""

from collections.abc import Iterator
from uuid import UUID, uuid5

from django.db import IntegrityError, transaction

from accounts.models import User
from chat.models import MODEL_NAME_LENGTH, TITLE_LENGTH, Conversation, Message, Role
from chat.transfer.formats import Talk
from core.sql import fetch_all
from inference.models import CatalogueModel

BATCH_ROWS = 1000


class NoModel(Exception):
    """No model is offered that could go on with an imported conversation."""


def import_conversations(*, user: User, talks: list[Talk], key: UUID) -> bool:
    """Write these conversations, all or none. False if a request with the same key wrote them before.

    Their ids come from the key: so the second click of a double click finds them there. Raises NoModel.
    """
    models = {model.key: model for model in CatalogueModel.objects.offered()}
    default = next((model for model in models.values() if model.is_available), next(iter(models.values()), None))
    if default is None:
        raise NoModel
    rows = [_conversation(user, talk, models.get(talk.model, default), key, n) for n, talk in enumerate(talks)]
    try:
        with transaction.atomic():
            _write(rows, talks)
    except IntegrityError:
        if Conversation.objects.filter(pk=rows[0].pk).exists():
            return False
        raise
    return True


def _conversation(user: User, talk: Talk, model: CatalogueModel, key: UUID, number: int) -> Conversation:
    title = " ".join(talk.title.split())[:TITLE_LENGTH] or talk.source
    pk = uuid5(key, f"{user.pk}:{number}")
    return Conversation(pk=pk, user=user, model=model, title=title, system_prompt=talk.system_prompt)


def _write(rows: list[Conversation], talks: list[Talk]) -> None:
    Conversation.objects.bulk_create(rows)
    count = sum(len(talk.turns) for talk in talks)
    numbers = fetch_all(
        "SELECT nextval(pg_get_serial_sequence('chat_message', 'id')) FROM generate_series(1, %s)", [count]
    )
    free = iter(sorted(number for (number,) in numbers))
    messages = [message for row, talk in zip(rows, talks, strict=True) for message in _messages(row, talk, free)]
    Message.objects.bulk_create(messages, batch_size=BATCH_ROWS)
    Conversation.objects.bulk_update(rows, ["created_at", "updated_at", "tip"], batch_size=100)


def _messages(row: Conversation, talk: Talk, free: Iterator[int]) -> Iterator[Message]:
    """The messages of one conversation, and its times and its tip in `row`."""
    ids: dict[str | None, int | None] = {None: None}
    for turn in talk.turns:
        ids[turn.key] = next(free)
        yield Message(
            pk=ids[turn.key],
            conversation=row,
            role=turn.role,
            text=turn.text,
            parent_id=ids[turn.parent],
            is_first=turn.parent is None,
            rating=turn.rating,
            created_at=turn.created_at,
            imported_from=(turn.author or talk.source)[:MODEL_NAME_LENGTH] if turn.role == Role.ASSISTANT else "",
        )
    row.created_at, row.updated_at = talk.created_at, talk.updated_at
    row.tip_id = ids.get(talk.tip) or ids[talk.turns[-1].key]
