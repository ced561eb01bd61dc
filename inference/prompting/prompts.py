"""Checks prompts and turns them into a model's token ids. Does not import torch."""

import logging
import threading
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings
from django.utils.translation import gettext as _

from inference.catalogue import ModelUnavailable, find_weights
from inference.engine.checkpoint import Checkpoint, CheckpointError, SamplingDefaults, read_checkpoint
from inference.models import CatalogueModel, PromptFormat
from inference.prompting.chat_template import prepare_template, template_of, try_template, write_conversation
from inference.prompting.conversation import Conversation, Prompt, RawText, Turn, alternate
from inference.prompting.encoding import Part, PromptEncoder
from inference.prompting.rendering import ConversationRefused, Template, TemplateBroken
from inference.prompting.showable import showable, without_blank_ends
from inference.prompting.transcript import write_transcript

logger = logging.getLogger(__name__)

__all__ = ["Conversation", "Prompt", "RawText", "Turn"]  # the types of prompts, for callers

SHORTEST = Conversation([Turn("user", "?")])  # nearly all of its tokens belong to the format


class InvalidPrompt(Exception):
    """The text cannot be sent; the message says why and what to do."""


class PromptTooLong(InvalidPrompt):
    """The prompt leaves no room for an answer in the model's context window."""


@dataclass(frozen=True, slots=True)
class Prompting:
    """The files with which one model's prompts are encoded on this machine. `template` is None for a transcript."""

    checkpoint: Checkpoint
    encoder: PromptEncoder
    template: Template | None

    def encode(self, prompt: Prompt) -> list[int]:
        """The ids of a prompt. Raises TemplateBroken, ConversationRefused or CheckpointError.

        A raw text or a transcript begins with `opening_ids` of the tokenizer; a chat template writes these itself.
        """
        if isinstance(prompt, RawText):
            return [*self.encoder.opening_ids, *self.encoder.encode([Part(prompt.text)])]
        if self.template is None:
            parts = write_transcript(prompt.system, prompt.turns)
            return [*self.encoder.opening_ids, *self.encoder.encode(parts)]
        return self.encoder.encode(write_conversation(self.template, prompt.system, prompt.turns))


_promptings: dict[tuple[Path, str, str, str], Prompting] = {}  # by MODEL_DIR and the model's key, source and format
_loading = threading.Lock()


def clean_prompt(text: str) -> str:
    """Return the text without characters that cannot be shown, blank lines at its start, and blanks at its end.

    Raises InvalidPrompt if the text cannot be sent.
    """
    text = without_blank_ends(showable(text))
    if not text:
        raise InvalidPrompt(_("Write something first."))
    if len(text) > settings.PROMPT_MAX_CHARACTERS:
        raise InvalidPrompt(
            _("Your message has {count:,} characters; at most {limit:,} can be sent.").format(
                count=len(text), limit=settings.PROMPT_MAX_CHARACTERS
            )
        )
    if any(unicodedata.category(c) == "Cs" for c in text):
        raise InvalidPrompt(_("Your message is not valid UTF-8 text. Paste it again as plain text."))
    return text


def conversation_of(messages: Sequence[tuple[str, str]]) -> Conversation:
    """The conversation of an API client's messages (role, text). Roles are system, developer, user and assistant.

    System and developer messages at the beginning become the system prompt; later ones become part of the user's next
    turn. If the last message is the assistant's, the answer continues it. Raises InvalidPrompt if all texts are blank.
    """
    said = [(role, text) for role, text in messages if text.strip()]
    if not said:
        raise InvalidPrompt(_("All messages are empty. Write something."))
    first = next((number for number, (role, _text) in enumerate(said) if role in ("user", "assistant")), 0)
    system = "\n\n".join(text for _role, text in said[:first])
    turns = [Turn("assistant" if role == "assistant" else "user", text) for role, text in said[first:]]
    return Conversation(alternate(turns), system)


def encode_prompt(*, model: CatalogueModel, prompt: Prompt) -> list[int]:
    """The token ids of a prompt in the model's format.

    Users' texts are encoded without control tokens, so nobody can forge a turn by typing `<end_of_turn>`. Raises
    ModelUnavailable when the model's files are not on this machine or cannot be used, and InvalidPrompt when its
    template refuses the conversation.
    """
    try:
        return _prompting_of(model).encode(prompt)
    except ConversationRefused as refused:
        raise InvalidPrompt(
            _("{name} does not take a conversation like this one: {reason}").format(name=model.name, reason=refused)
        ) from refused
    except (TemplateBroken, CheckpointError) as error:
        logger.error("nobody can ask %s: %s", model.key, error)
        raise ModelUnavailable(str(error)) from error


def completion_room(model: CatalogueModel, prompt_tokens: int, asked: int | None) -> int:
    """How many tokens the answer may have: the least of the request's limit, the model's, and the rest of the context.

    If the context has no room left, raises PromptTooLong, with the number of tokens that are too many; but
    ModelUnavailable if the format's own tokens alone fill the context.
    """
    room = model.context_tokens - prompt_tokens
    if room >= 1:
        return min(asked or settings.DEFAULT_MAX_TOKENS, model.max_completion_tokens, room)
    refuse_small_window(model, len(encode_prompt(model=model, prompt=SHORTEST)))
    raise PromptTooLong(
        _(
            "The conversation is {over:,} tokens too long: it has {count:,}, and {name} takes at most "
            "{limit:,} including the answer. Shorten it or start a new chat."
        ).format(over=1 - room, count=prompt_tokens, name=model.name, limit=model.context_tokens)
    )


def refuse_small_window(model: CatalogueModel, needed_tokens: int) -> None:
    """Raise ModelUnavailable for a model whose context window has no room for an answer to the shortest question."""
    if needed_tokens >= model.context_tokens:
        raise ModelUnavailable(
            f"Its context window of {model.context_tokens:,} tokens is smaller than what introduces a conversation "
            f"({needed_tokens:,} tokens)."
        )


def check_prompting(model: CatalogueModel) -> None:
    """Check that prompts can be encoded for this model. Raises ModelUnavailable with the reason."""
    check_prompting_of(model, read_checkpoint(find_weights(key=model.key, source=model.source)))


def check_prompting_of(model: CatalogueModel, checkpoint: Checkpoint) -> None:
    """As `check_prompting`, for a checkpoint that was read already. Its weights may be missing."""
    try:
        prompting = _make_prompting(model, checkpoint)
        if prompting.template is not None:
            try_template(prompting.template)
        needed_tokens = len(prompting.encode(SHORTEST))
    except (TemplateBroken, CheckpointError) as error:
        raise ModelUnavailable(str(error)) from error
    refuse_small_window(model, needed_tokens)


def format_of(model: CatalogueModel, prompt: Prompt) -> PromptFormat:
    """The format in which this prompt is composed for this model."""
    if isinstance(prompt, RawText):
        return PromptFormat.TEXT
    if model.prompt_format == PromptFormat.TRANSCRIPT and prompt.is_continued:
        return PromptFormat.OPEN_TRANSCRIPT
    return PromptFormat(model.prompt_format)


def sampling_defaults(model: CatalogueModel) -> SamplingDefaults:
    """The sampling parameters of this model for requests that set none. Raises ModelUnavailable."""
    try:
        return _prompting_of(model).checkpoint.sampling
    except (TemplateBroken, CheckpointError) as error:
        raise ModelUnavailable(str(error)) from error


def warm_up() -> None:
    """Load the tokenizers of the available models and render their templates. Takes 2 s, so that no customer waits."""
    for model in CatalogueModel.objects.offered().filter(unavailable_reason=""):
        try:
            prompting = _prompting_of(model)
            if prompting.template is not None:
                prepare_template(prompting.template)
        except (ModelUnavailable, CheckpointError, TemplateBroken):
            continue


def _prompting_of(model: CatalogueModel) -> Prompting:
    """The model's files for prompts, read once. Raises ModelUnavailable, CheckpointError, or TemplateBroken."""
    place = (settings.MODEL_DIR, model.key, model.source, model.prompt_format)
    with _loading:
        if place not in _promptings:
            checkpoint = read_checkpoint(find_weights(key=model.key, source=model.source))
            _promptings[place] = _make_prompting(model, checkpoint)
        return _promptings[place]


def _make_prompting(model: CatalogueModel, checkpoint: Checkpoint) -> Prompting:
    encoder = PromptEncoder(checkpoint.folder, checkpoint.vocabulary)
    is_transcript = model.prompt_format == PromptFormat.TRANSCRIPT
    return Prompting(checkpoint, encoder, None if is_transcript else template_of(checkpoint))
