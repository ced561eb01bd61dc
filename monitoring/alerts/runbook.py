"""The sections of docs/operations.md, which say what an alert means, what to look at and what to do."""

import re
from dataclasses import dataclass
from functools import cache

from django.conf import settings
from django.utils.safestring import SafeString, mark_safe
from django.utils.text import slugify

from chat.markdown.rendering import render

LINK = re.compile(r"\[([^\]]+)\]\([^)]*\.md[^)]*\)")  # to other files of docs/, which are not served
CHAPTER = "\n## Alerts\n"
HEADING = re.compile(r"^### (.+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Section:
    """One section: its heading, the anchor that leads to it, and its text as HTML."""

    heading: str
    anchor: str
    html: SafeString


@cache
def read_sections() -> dict[str, Section]:
    """All sections about alerts, by their anchors."""
    text = (settings.BASE_DIR / "docs" / "operations.md").read_text()
    parts = HEADING.split(text.partition(CHAPTER)[2])
    sections = {}
    for heading, body in zip(parts[1::2], parts[2::2], strict=True):
        html = render(LINK.sub(r"\1", body.strip()))
        sections[slugify(heading)] = Section(heading, slugify(heading), mark_safe(html))  # noqa: S308  sanitised
    return sections
