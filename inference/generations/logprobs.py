"""The stored format of an answer's log probabilities, which the database and the relay share.

A token is a list: the index of the character where its text begins, the token itself, and the likeliest tokens in its
place. Each of these is a list too: its text and its log probability. If its bytes differ from its text in UTF-8, they
follow in hexadecimal; for a control token, which has no bytes, null follows. Such a list takes about 20 bytes, a token
with the 20 likeliest about half a kilobyte, and an answer of 8,192 tokens 4 MB.
"""

from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

from inference.engine.base import Candidate, TokenLogprob
from inference.models import AnswerLogprobs

DECIMALS = 6  # of a log probability; it is computed in float32


def packed(logprobs: Iterable[TokenLogprob]) -> list[list[Any]]:
    """These tokens in the stored format."""
    return [[each.at, *map(_candidate, (each.chosen, *each.top))] for each in logprobs]


def keep_logprobs(*, generation_id: UUID, logprobs: Sequence[Any]) -> None:
    """Save the log probabilities of an answer. Call it in the transaction that ends the answer."""
    AnswerLogprobs.objects.create(generation_id=generation_id, tokens=list(logprobs))


def read_logprobs(generation_id: UUID) -> list[Any] | None:
    """The log probabilities of an answer; None if a worker of an earlier version wrote it, or they were erased."""
    return AnswerLogprobs.objects.filter(pk=generation_id).values_list("tokens", flat=True).first()


def _candidate(each: Candidate) -> list[Any]:
    kept: list[Any] = [each.text, round(each.logprob, DECIMALS)]
    if each.utf8 is None:
        kept.append(None)
    elif each.utf8 != each.text.encode():
        kept.append(each.utf8.hex())
    return kept
