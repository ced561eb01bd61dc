"""The format of base models, which were not trained on turns: a transcript of two named speakers, to be continued.

An introduction with two examples shows the model what answers look like. The answer ends where the model begins the
next speaker's line. With this, Gemma 3 270M answers eight of ten everyday questions right. Gemma's turn format gives
noise with it, since only the instruction-tuned models know that format.
"""

import re
from collections.abc import Sequence

from inference.models import PromptFormat
from inference.prompting.conversation import Turn
from inference.prompting.encoding import Part

NAMES = {"user": "Person", "assistant": "Assistant"}

# Without the blank after the colon, so that the answer ends as early as possible. An empty line may come before them.
STOP_STRINGS = tuple(f"\n{name}:" for name in NAMES.values())

INTRODUCTION = (
    "The following is a conversation between a curious person and a helpful assistant. "
    "The assistant gives correct, short and polite answers."
)
EXAMPLES = (
    Turn("user", "What is the tallest mountain on Earth?"),
    Turn(
        "assistant",
        "Mount Everest, on the border of Nepal and China, is the tallest mountain on Earth. It is 8,849 metres high.",
    ),
    Turn("user", "Write a short poem about rain."),
    Turn(
        "assistant",
        "Soft rain falls on the silent street,\n"
        "It drums a slow and steady beat.\n"
        "The gardens drink, the rivers grow,\n"
        "And clouds drift on to where winds blow.",
    ),
)

# The start of a line that looks like a speaker's. A model may see a new line at other Unicode line ends than "\n" too.
LINE_ENDS = r"\n\r\v\f\x1c-\x1e\x85\u2028\u2029"
SPEAKER_LINE = re.compile(rf"(^|[{LINE_ENDS}])(?=[^\S{LINE_ENDS}]*(?:{'|'.join(NAMES.values())})\s*:)", re.IGNORECASE)
QUOTE = "> "


def write_transcript(system: str, turns: Sequence[Turn]) -> list[Part]:
    """The conversation as lines of two speakers. It ends with the assistant's name, or with its last text.

    A system prompt becomes a paragraph of the introduction. If a line of a user's text begins like a speaker's line,
    it is quoted, so that it cannot forge a turn.
    """
    written = INTRODUCTION
    if system.strip():
        written += "\n\n" + _quote_speakers(system.strip())
    for turn in (*EXAMPLES, *turns):
        written += ("\n\n" if turn.role == "user" else "\n") + _line(turn)
    is_continued = turns[-1].role == "assistant"
    return [Part(written if is_continued else f"{written}\n{NAMES['assistant']}:")]


def stop_strings(prompt_format: str) -> tuple[str, ...]:
    """The strings that end an answer besides the model's own stop tokens; none except for transcripts."""
    is_transcript = prompt_format in (PromptFormat.TRANSCRIPT, PromptFormat.OPEN_TRANSCRIPT)
    return STOP_STRINGS if is_transcript else ()


def _line(turn: Turn) -> str:
    return f"{NAMES[turn.role]}: {_quote_speakers(turn.text.strip())}"


def _quote_speakers(text: str) -> str:
    return SPEAKER_LINE.sub(lambda found: found[1] + QUOTE, text)
