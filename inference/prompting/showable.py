"""Removes what cannot be shown from users' texts: one rule for the pages and both APIs."""

import re

_LINE_END = re.compile(r"\r\n?")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # all of Unicode's category Cc but tab and newline
_BLANK_LINES_BEFORE = re.compile(r"\A(?:[^\S\n]*\n)+")


def showable(text: str) -> str:
    """Return the text without what cannot be shown: control characters other than tab and newline.

    Every kind of line end becomes a newline. U+FFFD stays, since it is a visible character. Lone surrogates stay too:
    pages and APIs refuse them, because they cannot be stored.
    """
    return _CONTROL.sub("", _LINE_END.sub("\n", text))


def without_blank_ends(text: str) -> str:
    """Return the text without blank lines at its start and blanks at its end; the first line keeps its indentation."""
    return _BLANK_LINES_BEFORE.sub("", text.rstrip())
