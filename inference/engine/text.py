"""From tokens to text that may be shown: whole characters only, cut at the stop strings."""

from tokenizers import Tokenizer
from tokenizers.decoders import DecodeStream


class StopCutter:
    """Passes text on until a stop string appears; holds back what may be the beginning of one."""

    def __init__(self, stop: tuple[str, ...]) -> None:
        self._stop = stop
        self._held = ""
        self.is_stopped = False

    def push(self, text: str) -> str:
        """Return what may be shown now. After a stop string, nothing more."""
        if self.is_stopped:
            return ""
        if not self._stop:
            return text
        text = self._held + text
        found = [position for position in map(text.find, self._stop) if position >= 0]
        if found:
            self.is_stopped, self._held = True, ""
            return text[: min(found)]
        keep = self._longest_beginning(text)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def flush(self) -> str:
        """Return what was held back, once no more text comes."""
        held, self._held = self._held, ""
        return held

    def _longest_beginning(self, text: str) -> int:
        """How many of the last characters are the beginning of a stop string."""
        longest = min(len(text), max(map(len, self._stop)) - 1)
        for length in range(longest, 0, -1):
            if any(stop.startswith(text[-length:]) for stop in self._stop):
                return length
        return 0


class TextAssembler:
    """Decodes one answer token by token."""

    def __init__(self, tokenizer: Tokenizer, stop: tuple[str, ...]) -> None:
        self._tokenizer = tokenizer
        self._stream = DecodeStream(skip_special_tokens=True)
        self._cutter = StopCutter(stop)
        self.completion_tokens = 0

    @property
    def is_stopped(self) -> bool:
        """Whether a stop string was met."""
        return self._cutter.is_stopped

    def push(self, token_id: int) -> str:
        """Count one token and return the text that it completes, often none."""
        self.completion_tokens += 1
        return self._cutter.push(self._stream.step(self._tokenizer, token_id) or "")

    def flush(self) -> str:
        """Return what was held back. A character whose last bytes never came is dropped."""
        return self._cutter.flush()
