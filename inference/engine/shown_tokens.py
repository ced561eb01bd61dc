"""Pairs the log probabilities of tokens with the text that is shown of an answer."""

from collections import deque
from typing import Protocol

from inference.engine.base import Candidate, TokenLogprob

StepLogprobs = tuple[list[int], list[float]]  # ids and log probabilities: of the drawn token, then of the best


class Words(Protocol):
    """Knows how tokens are written."""

    def candidate(self, token_id: int, logprob: float) -> Candidate:
        """This token, with its log probability."""
        ...


class ShownTokens:
    """Which tokens of an answer have text that is shown: each is given out once, with the first of its text."""

    def __init__(self, words: Words, top_logprobs: int) -> None:
        self._words = words
        self._top_logprobs = top_logprobs
        self._shown = 0  # characters of the answer
        self._read = 0  # characters that the tokens so far stand for
        self._unread: list[StepLogprobs] = []  # tokens whose character is not whole yet
        self._waiting: deque[tuple[int, int, list[StepLogprobs]]] = deque()  # not shown yet: their first and last + 1

    def add(self, token: StepLogprobs, characters: int) -> None:
        """The next token, and how many characters it completed. The tokens of one character share it."""
        self._unread.append(token)
        if characters:
            end = self._read + characters
            self._waiting.append((self._read, end, self._unread))
            self._read, self._unread = end, []

    def take(self, left_out: int, shown: int) -> tuple[TokenLogprob, ...]:
        """Those that are shown now, when `left_out` characters were left out before the first, and `shown` more are
        shown."""
        self._shown += shown
        taken: list[TokenLogprob] = []
        while shown and self._waiting and self._waiting[0][0] < left_out + self._shown:
            start, end, tokens = self._waiting.popleft()
            if end > left_out:
                taken += [self._entry(max(0, start - left_out), token) for token in tokens]
        return tuple(entry for entry in taken if entry.chosen.utf8 is not None)  # a control token is no text

    def _entry(self, at: int, token: StepLogprobs) -> TokenLogprob:
        chosen, *best = map(self._words.candidate, *token)
        top = (each for each in best[: self._top_logprobs] if each.logprob > float("-inf"))
        return TokenLogprob(at, chosen, tuple(top))
