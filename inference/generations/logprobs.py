"""The log probabilities of an answer as they are kept: for whoever reads it later, and on their way through the relay.

A token is a list: the character of the text where its own text begins, the token, and the likeliest ones in its place.
Of each there is the text and the log probability; then the bytes in hexadecimal if they are not those of the text, or
null for a control token, which has none. So one takes about 20 bytes, a token with the 20 best about half a kilobyte,
and an answer of 8,192 tokens 4 MB.
"""

from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

from inference.engine.base import Candidate, TokenLogprob
from inference.models import AnswerLogprobs

DECIMALS = 6  # of a log probability; it is computed in float32


def packed(logprobs: Iterable[TokenLogprob]) -> list[list[Any]]:
    """These tokens as they are kept."""
    return [[each.at, *map(_candidate, (each.chosen, *each.top))] for each in logprobs]


def keep_logprobs(*, generation_id: UUID, logprobs: Sequence[Any]) -> None:
    """Keep those of an answer beside it, in the transaction that ends it."""
    AnswerLogprobs.objects.create(generation_id=generation_id, tokens=list(logprobs))


def read_logprobs(generation_id: UUID) -> list[Any] | None:
    """Those of an answer; None where a worker of a version before wrote it, or they are erased."""
    return AnswerLogprobs.objects.filter(pk=generation_id).values_list("tokens", flat=True).first()


def _candidate(each: Candidate) -> list[Any]:
    kept: list[Any] = [each.text, round(each.logprob, DECIMALS)]
    if each.utf8 is None:
        kept.append(None)
    elif each.utf8 != each.text.encode():
        kept.append(each.utf8.hex())
    return kept
