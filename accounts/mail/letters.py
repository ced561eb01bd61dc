"""The HTML of a mail, made from its text: all mails have one look, and say in HTML what they say as text.

Many mail programs read no style sheet, so the sheet is written into the tags. It loads nothing: no picture, no font.
"""

import re
from dataclasses import dataclass

import css_inline
from django.conf import settings
from django.template.loader import render_to_string
from django.utils.translation import gettext as _

_LINK = re.compile(r"^[ \t]*(https?://[^\s<>\"]+)[ \t]*$", re.MULTILINE)
_BLANK_LINES = re.compile(r"\n[ \t]*\n")


@dataclass(frozen=True, slots=True)
class Paragraph:
    """Some lines. An address that has a line of its own becomes a button after them, and stands below it too."""

    words: str
    link: str = ""
    label: str = ""


def write_html(*, subject: str, text: str) -> str:
    """The HTML of a mail in the language that is active."""
    blocks = _BLANK_LINES.split(text.replace("\r\n", "\n").strip())
    paragraphs = [paragraph for block in blocks for paragraph in _read(block)]
    context = {"subject": subject, "paragraphs": paragraphs, "public_url": settings.PUBLIC_URL}
    html = render_to_string("accounts/mail/letter.html", context)
    return css_inline.inline(html, keep_style_tags=True, load_remote_stylesheets=False)


def _read(block: str) -> list[Paragraph]:
    """The paragraphs of some lines: one that ends with each address, and one of what follows the last."""
    *pieces, rest = _LINK.split(block)
    found = [
        Paragraph(words.strip(), link, _label_of(link)) for words, link in zip(pieces[::2], pieces[1::2], strict=True)
    ]
    return [*found, Paragraph(rest.strip())] if rest.strip() else found


def _label_of(link: str) -> str:
    """What the button of a link says."""
    path = link.removeprefix(settings.PUBLIC_URL)
    labels = {
        "/confirm-email/": _("Confirm the address"),
        "/password/reset/": _("Set a new password"),
        "/accounts/open/": _("Open the account again"),
        "/archive": _("Download the archive"),
        "/credits/": _("To your credits"),
    }
    return next((label for part, label in labels.items() if part in path), _("Open Tally"))
