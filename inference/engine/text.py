"""Converts tokens to the text to show: only complete characters, cut at stop strings, trimmed where requested."""

from tokenizers import Tokenizer
from tokenizers.decoders import DecodeStream

from inference.engine.base import TokenLogprob
from inference.engine.checkpoint import TOKENIZER, Checkpoint, CheckpointError
from inference.engine.shown_tokens import ShownTokens, StepLogprobs


def load_tokenizer(checkpoint: Checkpoint) -> tuple[Tokenizer, int]:
    """The tokenizer, and the limit of ids that may be drawn: they are in the tokenizer and in the model's embedding.

    Raises CheckpointError if it cannot be read, or has words that the embedding lacks. The embedding may be larger,
    since its number of rows is often rounded up. It may also lack control tokens: Gemma 3 1B's tokenizer has one for
    images, which only the larger models use.
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
    """Passes text on until a stop string appears. Holds back an end of the text that may begin a stop string."""

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
    """Passes text on without blanks at its start and end. Holds blanks back until more text follows."""

    def __init__(self) -> None:
        self.left_out = 0  # how many blanks were before the first character
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
    """Cuts an answer's text at the stop strings and, with `trims`, removes the blanks at its start and end."""

    def __init__(self, stop: tuple[str, ...], *, trims: bool = False) -> None:
        self._cutter = StopCutter(stop)
        self._trimmer = Trimmer() if trims else None

    @property
    def is_stopped(self) -> bool:
        """Whether a stop string was met."""
        return self._cutter.is_stopped

    @property
    def left_out(self) -> int:
        """How many characters before the first shown one are left out."""
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
    """Decodes one answer token by token. `listed` gets the log probabilities, if the request asked for them."""

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
        """Count one token and return the text that may be shown now, which is often empty."""
        self.completion_tokens += 1
        text = self._stream.step(self._tokenizer, token_id) or ""
        if self._listed is not None and logprobs is not None:
            self._listed.add(logprobs, len(text))
        return self._shown.push(text)

    def take_logprobs(self, characters: int) -> tuple[TokenLogprob, ...]:
        """The log probabilities of the tokens whose text begins in the next `characters` that are shown."""
        return () if self._listed is None else self._listed.take(self._shown.left_out, characters)

    def skip(self) -> None:
        """Count one token that is not shown: the one that ends an answer."""
        self.completion_tokens += 1

    def flush(self) -> str:
        """Return the text that was held back. An incomplete last character is dropped."""
        return self._shown.flush()
