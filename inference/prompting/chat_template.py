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
    """Raises TemplateBroken where the checkpoint has none."""
    if not checkpoint.chat_template:
        raise TemplateBroken("It has no chat template. A base model is prompted as a transcript.")
    return Template(checkpoint.chat_template, tuple(sorted(checkpoint.special_tokens.items())))


def write_conversation(template: Template, system: str, turns: Sequence[Turn]) -> list[Part]:
    """The conversation in the model's own format, ready for the answer. The sides of `turns` alternate.

    A system prompt stands where the template has a place for it, else in front of the first turn. Where the assistant
    speaks first and the template wants a user before it, that user says nothing. Where the assistant speaks last, it is
    not done: nothing follows. Raises TemplateBroken, or ConversationRefused with the template's words.
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
    """The frame up to the text of the last message. Raises ConversationRefused where that is not the last of all."""
    slots = [number for number, part in enumerate(frame) if isinstance(part, Slot)]
    end = slots[-1]
    if frame[end].number != last:  # type: ignore[union-attr]
        raise ConversationRefused(_NOT_LAST)
    return frame[: end + 1]


def try_template(template: Template) -> None:
    """Render what every chat needs: a question alone, and one after an answer, with a system prompt and without.

    Raises TemplateBroken for a template that cannot serve those.
    """
    question, answer = Turn("user", "Hello"), Turn("assistant", "Hello")
    for system in ("", "Be kind."):
        for turns in ([question], [question, answer, question]):
            try:
                write_conversation(template, system, turns)
            except ConversationRefused as refused:
                raise TemplateBroken(f"Its chat template refuses a plain conversation: {refused}") from refused


def prepare_template(template: Template) -> None:
    """Render conversations of the usual lengths now, so that no customer waits for a process to do it."""
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
