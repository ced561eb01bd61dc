"""From tokens to text that may be shown: whole characters only, cut at the stop strings, without blanks around it."""

from tokenizers import Tokenizer
from tokenizers.decoders import DecodeStream

from inference.engine.base import TokenLogprob
from inference.engine.checkpoint import TOKENIZER, Checkpoint, CheckpointError
from inference.engine.shown_tokens import ShownTokens, StepLogprobs


def load_tokenizer(checkpoint: Checkpoint) -> tuple[Tokenizer, int]:
    """The tokenizer, and how many ids may be written: those that it knows and the model's embedding has a row for.

    Raises CheckpointError where it cannot be read, or knows words that the embedding has no row for. A larger embedding
    is usual: its rows are rounded up. So is a control token beyond it: Gemma 3 1B's tokenizer has one for images, which
    only its larger brothers read.
    """
    try:
        tokenizer = Tokenizer.from_file(str(checkpoint.folder / TOKENIZER))
    except Exception as error:  # the library has no class of its own for it
        raise CheckpointError(f"Its {TOKENIZER} cannot be read.") from error
    controls = {number for number, token in tokenizer.get_added_tokens_decoder().items() if token.special}
    ids = tokenizer.get_vocab(with_added_tokens=True).values()
    words = max((number for number in ids if number not in controls), default=-1) + 1
    if not 0 < words <= checkpoint.vocabulary:
        raise CheckpointError(
            f"Its tokenizer has {words} tokens and its embedding {checkpoint.vocabulary}: they do not belong together."
        )
    return tokenizer, min(max(ids) + 1, checkpoint.vocabulary)


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


class Trimmer:
    """Passes text on without the blanks before its first character and after its last, which it holds back."""

    def __init__(self) -> None:
        self.left_out = 0  # blanks before the first character
        self._has_begun = False
        self._held = ""

    def push(self, text: str) -> str:
        """Return what may be shown now. Blanks that no more text follows are never shown."""
        if not self._has_begun:
            blanks = len(text) - len(text.lstrip())
            self.left_out += blanks
            text = text[blanks:]
        text = self._held + text
        shown = text.rstrip()
        self._has_begun = self._has_begun or bool(shown)
        self._held = text[len(shown) :]
        return shown


class Shown:
    """What is shown of an answer's text: cut at the stop strings; with `trims`, without the blanks around it."""

    def __init__(self, stop: tuple[str, ...], *, trims: bool = False) -> None:
        self._cutter = StopCutter(stop)
        self._trimmer = Trimmer() if trims else None

    @property
    def is_stopped(self) -> bool:
        """Whether a stop string was met."""
        return self._cutter.is_stopped

    @property
    def left_out(self) -> int:
        """How many characters before the first that is shown are not."""
        return self._trimmer.left_out if self._trimmer else 0

    def push(self, text: str) -> str:
        """Return what may be shown now."""
        text = self._cutter.push(text)
        return self._trimmer.push(text) if self._trimmer else text

    def flush(self) -> str:
        """Return what was held back, once no more text comes."""
        text = self._cutter.flush()
        return self._trimmer.push(text) if self._trimmer else text


class TextAssembler:
    """Decodes one answer token by token; `listed` gets their log probabilities, where they are asked for."""

    def __init__(
        self, tokenizer: Tokenizer, stop: tuple[str, ...], *, trims: bool = False, listed: ShownTokens | None = None
    ) -> None:
        self._tokenizer = tokenizer
        self._stream = DecodeStream(skip_special_tokens=True)
        self._shown = Shown(stop, trims=trims)
        self._listed = listed
        self.completion_tokens = 0

    @property
    def is_stopped(self) -> bool:
        """Whether a stop string was met."""
        return self._shown.is_stopped

    def push(self, token_id: int, logprobs: StepLogprobs | None = None) -> str:
        """Count one token and return the text that may be shown then, often none."""
        self.completion_tokens += 1
        text = self._stream.step(self._tokenizer, token_id) or ""
        if self._listed is not None and logprobs is not None:
            self._listed.add(logprobs, len(text))
        return self._shown.push(text)

    def take_logprobs(self, characters: int) -> tuple[TokenLogprob, ...]:
        """Those of the next `characters` that are shown."""
        return () if self._listed is None else self._listed.take(self._shown.left_out, characters)

    def skip(self) -> None:
        """Count one token that is not shown: the one that ends an answer."""
        self.completion_tokens += 1

    def flush(self) -> str:
        """Return what was held back. A character whose last bytes never came is dropped."""
        return self._shown.flush()
