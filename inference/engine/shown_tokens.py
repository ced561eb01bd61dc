"""Matches the log probabilities of tokens with the shown text of an answer."""

from collections import deque
from typing import Protocol

from inference.engine.base import Candidate, TokenLogprob

StepLogprobs = tuple[list[int], list[float]]  # ids and log probabilities: of the drawn token, then of the best


class Words(Protocol):
    """Converts token ids to text."""

    def candidate(self, token_id: int, logprob: float) -> Candidate:
        """The text and bytes of this token, with the given log probability."""
        ...


class ShownTokens:
    """Returns each token of an answer that has shown text once, when its first character is shown."""

    def __init__(self, words: Words, top_logprobs: int) -> None:
        self._words = words
        self._top_logprobs = top_logprobs
        self._shown = 0  # how many characters of the answer are shown
        self._read = 0  # how many characters the tokens so far have
        self._unread: list[StepLogprobs] = []  # the tokens of a character that is not complete yet
        # Tokens that are not shown yet, with the start and the end (exclusive) of their characters.
        self._waiting: deque[tuple[int, int, list[StepLogprobs]]] = deque()

    def add(self, token: StepLogprobs, characters: int) -> None:
        """Add the next token and how many characters it completed. Several tokens may share one character."""
        self._unread.append(token)
        if characters:
            end = self._read + characters
            self._waiting.append((self._read, end, self._unread))
            self._read, self._unread = end, []

    def take(self, left_out: int, shown: int) -> tuple[TokenLogprob, ...]:
        """The tokens of the next `shown` characters. `left_out` characters before the first one are never shown."""
        self._shown += shown
        taken: list[TokenLogprob] = []
        while shown and self._waiting and self._waiting[0][0] < left_out + self._shown:
            start, end, tokens = self._waiting.popleft()
            if end > left_out:
                taken += [self._entry(max(0, start - left_out), token) for token in tokens]
        return tuple(entry for entry in taken if entry.chosen.utf8 is not None)  # without control tokens

    def _entry(self, at: int, token: StepLogprobs) -> TokenLogprob:
        chosen, *best = map(self._words.candidate, *token)
        top = (each for each in best[: self._top_logprobs] if each.logprob > float("-inf"))
        return TokenLogprob(at, chosen, tuple(top))
