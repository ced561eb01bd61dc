"""The format of instruction-tuned models: the chat template that came with the checkpoint."""

from collections.abc import Sequence

from inference.engine.checkpoint import Checkpoint
from inference.prompting.conversation import Turn
from inference.prompting.encoding import Part
from inference.prompting.rendering import (
    ConversationRefused,
    Frame,
    Shape,
    Slot,
    SystemNotPlaced,
    Template,
    TemplateBroken,
    render,
)

_NOT_LAST = "The last message has to be the user's."


def template_of(checkpoint: Checkpoint) -> Template:
    """The chat template of a checkpoint. Raises TemplateBroken if it has none."""
    if not checkpoint.chat_template:
        raise TemplateBroken("It has no chat template. A base model is prompted as a transcript.")
    return Template(checkpoint.chat_template, tuple(sorted(checkpoint.special_tokens.items())))


def write_conversation(template: Template, system: str, turns: Sequence[Turn]) -> list[Part]:
    """The conversation in the model's own format, up to where the answer begins. The roles of `turns` must alternate.

    The system prompt goes where the template has a place for it, else in front of the first turn's text. If the first
    turn is the assistant's and the template refuses that, an empty user turn comes before it. If the last turn is the
    assistant's, nothing follows its text, so that the answer continues it. Raises TemplateBroken, or
    ConversationRefused with the template's words.
    """
    try:
        return _write_in_order(template, system, turns)
    except ConversationRefused:
        if turns[0].role != "assistant":
            raise
        return _write_in_order(template, system, [Turn("user", ""), *turns])


def _write_in_order(template: Template, system: str, turns: Sequence[Turn]) -> list[Part]:
    texts, is_continued = [turn.text for turn in turns], turns[-1].role == "assistant"
    if system:
        try:
            frame = render(template, Shape(True, turns[0].role, len(turns)))
            return _fill(_without_end(frame, len(turns)) if is_continued else frame, [system, *texts])
        except (SystemNotPlaced, ConversationRefused):
            texts[0] = f"{system}\n\n{texts[0]}" if texts[0] else system
    frame = render(template, Shape(False, turns[0].role, len(turns)))
    return _fill(_without_end(frame, len(turns) - 1) if is_continued else frame, texts)


def _without_end(frame: Frame, last: int) -> Frame:
    """The frame up to the text of message number `last`. Raises ConversationRefused if another text comes after it."""
    slots = [number for number, part in enumerate(frame) if isinstance(part, Slot)]
    end = slots[-1]
    if frame[end].number != last:  # type: ignore[union-attr]
        raise ConversationRefused(_NOT_LAST)
    return frame[: end + 1]


def try_template(template: Template) -> None:
    """Try a template with the conversations that every chat needs. Raises TemplateBroken if it refuses one.

    These are a question alone, and a question after an answer, each with and without a system prompt.
    """
    question, answer = Turn("user", "Hello"), Turn("assistant", "Hello")
    for system in ("", "Be kind."):
        for turns in ([question], [question, answer, question]):
            try:
                write_conversation(template, system, turns)
            except ConversationRefused as refused:
                raise TemplateBroken(f"Its chat template refuses a plain conversation: {refused}") from refused


def prepare_template(template: Template) -> None:
    """Render conversations of the usual lengths now, so that no customer waits for the rendering process."""
    for has_system in (False, True):
        try:
            render(template, Shape(has_system, "user", 1))
        except (SystemNotPlaced, ConversationRefused):
            continue


def _fill(frame: Frame, texts: Sequence[str]) -> list[Part]:
    return [
        Part(part.fill(texts[part.number])) if isinstance(part, Slot) else Part(part, is_of_the_format=True)
        for part in frame
    ]
