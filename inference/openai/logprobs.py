"""Converts log probabilities from the stored format (`inference.generations.logprobs`) to OpenAI's JSON."""

from collections.abc import Sequence
from typing import Any


def of_chat(tokens: Sequence[Any]) -> dict[str, Any]:
    """The format of `chat/completions`."""
    content = [_of_chat(chosen) | {"top_logprobs": [_of_chat(each) for each in top]} for _at, chosen, *top in tokens]
    return {"content": content, "refusal": None}


def of_text(tokens: Sequence[Any]) -> dict[str, Any]:
    """The format of `completions`. As with OpenAI, the chosen token is always among the `top_logprobs`."""
    return {
        "tokens": [chosen[0] for _at, chosen, *_top in tokens],
        "token_logprobs": [chosen[1] for _at, chosen, *_top in tokens],
        "top_logprobs": [_by_text(candidates) for _at, *candidates in tokens],
        "text_offset": [at for at, *_candidates in tokens],
    }


def _by_text(candidates: Sequence[Any]) -> dict[str, float]:
    """Log probabilities by token text. Of tokens with the same text, the chosen one counts, else the likeliest."""
    found: dict[str, float] = {}
    for text, logprob, *_utf8 in candidates:
        found.setdefault(text, logprob)
    return found


def _of_chat(candidate: Sequence[Any]) -> dict[str, Any]:
    text, logprob, *spelled = candidate
    utf8 = text.encode() if not spelled else bytes.fromhex(spelled[0]) if spelled[0] is not None else None
    return {"token": text, "logprob": logprob, "bytes": None if utf8 is None else list(utf8)}
