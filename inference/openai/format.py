"""Writes answers in OpenAI's JSON, whole and in chunks. The same generation always gives the same JSON.

We add two members to OpenAI's. `usage.cost_microcredits` is the charge. `tally` has the generation's id and state, the
balance right after the charge, and whether the answer came from the cache. If something other than the request cut the
answer short, its `limited_by` says what: balance, monthly_cap, key_cap, or context (the model's window or its own
limit).
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from billing.ledger.charges import Charge
from inference.models import Generation
from inference.openai.logprobs import of_chat, of_text

DONE = b"data: [DONE]\n\n"
_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode  # json.dumps makes one in each call


@dataclass(frozen=True, slots=True)
class Shape:
    """The JSON of `chat/completions` (`is_chat`) or of `completions`."""

    is_chat: bool

    def whole(self, generation: Generation, charge: Charge, wanted_tokens: int) -> dict[str, Any]:
        """The JSON of a whole answer. `wanted_tokens` is the length limit of the request."""
        text, reason = generation.text, _finish_reason(generation)
        logprobs = self._logprobs(generation.logprobs)
        if self.is_chat:
            message = {"role": "assistant", "content": text, "refusal": None}
            choice = {"index": 0, "message": message, "logprobs": logprobs, "finish_reason": reason}
        else:
            choice = {"index": 0, "text": text, "logprobs": logprobs, "finish_reason": reason}
        head = self._head(generation, "chat.completion")
        ours = _ours(generation, charge, wanted_tokens)
        return head | {"choices": [choice], "usage": _usage(generation, charge), "tally": ours}

    def opening(self, generation: Generation) -> list[dict[str, Any]]:
        """The chunks before the text: in a chat, one with the role."""
        if not self.is_chat:
            return []
        return [self._chunk(generation, {"role": "assistant", "content": "", "refusal": None})]

    def piece(self, generation: Generation, text: str, logprobs: Sequence[Any]) -> dict[str, Any]:
        """A chunk that adds text, with the log probabilities of its tokens, which may be none."""
        return self._chunk(generation, {"content": text} if self.is_chat else text, logprobs=logprobs or None)

    def closing(self, generation: Generation, charge: Charge, wanted_tokens: int) -> dict[str, Any]:
        """The last chunk of the answer, with the reason why it ended."""
        chunk = self._chunk(generation, {} if self.is_chat else "", _finish_reason(generation))
        return chunk | {"tally": _ours(generation, charge, wanted_tokens)}

    def usage(self, generation: Generation, charge: Charge) -> dict[str, Any]:
        """The last chunk of a stream with `stream_options.include_usage`."""
        head = self._head(generation, "chat.completion.chunk")
        return head | {"choices": [], "usage": _usage(generation, charge)}

    def _chunk(
        self, generation: Generation, added: Any, reason: str | None = None, logprobs: Sequence[Any] | None = None
    ) -> dict[str, Any]:
        name = "delta" if self.is_chat else "text"
        choice = {"index": 0, name: added, "logprobs": self._logprobs(logprobs), "finish_reason": reason}
        return self._head(generation, "chat.completion.chunk") | {"choices": [choice]}

    def _logprobs(self, tokens: Sequence[Any] | None) -> dict[str, Any] | None:
        """The log probabilities in OpenAI's format. None if the request asked for none, or they were erased."""
        if tokens is None:
            return None
        return of_chat(tokens) if self.is_chat else of_text(tokens)

    def _head(self, generation: Generation, chat_object: str) -> dict[str, Any]:
        return {
            "id": f"{'chatcmpl' if self.is_chat else 'cmpl'}-{generation.pk.hex}",
            "object": chat_object if self.is_chat else "text_completion",
            "created": int(generation.created_at.timestamp()),
            "model": generation.model_id,
        }


CHAT, TEXT = Shape(is_chat=True), Shape(is_chat=False)


def event(content: dict[str, Any]) -> bytes:
    """One server-sent event as OpenAI writes it."""
    return f"data: {_encode(content)}\n\n".encode()


def _usage(generation: Generation, charge: Charge) -> dict[str, int]:
    return {
        "prompt_tokens": generation.prompt_tokens,
        "completion_tokens": generation.completion_tokens,
        "total_tokens": generation.prompt_tokens + generation.completion_tokens,
        "cost_microcredits": charge.charged_microcredits,  # no balance here: clients add up the members of usage
    }


def _finish_reason(generation: Generation) -> str:
    """The reason in OpenAI's terms, `stop` or `length`. A cancelled answer has `stop`; its `tally.state` says more."""
    return "length" if generation.finish_reason == "length" else "stop"


def _ours(generation: Generation, charge: Charge, wanted_tokens: int) -> dict[str, Any]:
    return {
        "generation": str(generation.pk),
        "state": generation.state,
        "balance_microcredits": charge.balance_microcredits,
        "limited_by": _limit(generation, charge, wanted_tokens) if generation.finish_reason == "length" else None,
        "from_cache": generation.is_from_cache,
    }


def _limit(generation: Generation, charge: Charge, wanted_tokens: int) -> str | None:
    """What cut an answer short; None if it was the request's own limit."""
    if generation.is_limited_by_balance:
        return charge.limited_by or "balance"
    return "context" if generation.requested_completion_tokens < wanted_tokens else None
