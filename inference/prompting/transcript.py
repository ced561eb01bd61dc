"""The format of base models, which were never taught turns: a conversation of two named speakers to go on with.

An introduction with two examples shows what kind of answers come. The answer ends where the model begins the next
speaker's line. On Gemma 3 270M this makes eight of ten everyday questions come out right, where its turn format,
which only its instruction-tuned brothers know, makes noise.
"""

import re
from collections.abc import Sequence

from inference.models import PromptFormat
from inference.prompting.conversation import Turn
from inference.prompting.encoding import Part

NAMES = {"user": "Person", "assistant": "Assistant"}

# With the empty line before it where the model writes one; the blank that follows the name is not waited for.
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

# A line that looks like a speaker's, wherever a model may see a new line: Unicode knows more of them than "\n".
LINE_ENDS = r"\n\r\v\f\x1c-\x1e\x85\u2028\u2029"
SPEAKER_LINE = re.compile(rf"(^|[{LINE_ENDS}])(?=[^\S{LINE_ENDS}]*(?:{'|'.join(NAMES.values())})\s*:)", re.IGNORECASE)
QUOTE = "> "


def write_transcript(system: str, turns: Sequence[Turn]) -> list[Part]:
    """The conversation as lines of two speakers, up to the name of the one who answers, or to what they said last.

    A system prompt is a paragraph of the introduction. What people wrote is text: where one of its lines begins as a
    speaker's line does, it is quoted.
    """
    written = INTRODUCTION
    if system.strip():
        written += "\n\n" + _quote_speakers(system.strip())
    for turn in (*EXAMPLES, *turns):
        written += ("\n\n" if turn.role == "user" else "\n") + _line(turn)
    is_continued = turns[-1].role == "assistant"
    return [Part(written if is_continued else f"{written}\n{NAMES['assistant']}:")]


def stop_strings(prompt_format: str) -> tuple[str, ...]:
    """What ends an answer besides the model's own stop tokens; nothing in the other formats."""
    is_transcript = prompt_format in (PromptFormat.TRANSCRIPT, PromptFormat.OPEN_TRANSCRIPT)
    return STOP_STRINGS if is_transcript else ()


def _line(turn: Turn) -> str:
    return f"{NAMES[turn.role]}: {_quote_speakers(turn.text.strip())}"


def _quote_speakers(text: str) -> str:
    return SPEAKER_LINE.sub(lambda found: found[1] + QUOTE, text)
