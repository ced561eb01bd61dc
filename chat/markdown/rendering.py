"""Renders Markdown as safe HTML."""

from functools import cache
from html import escape
from typing import Any

import nh3
from django.utils.translation import gettext as _
from markdown_it import MarkdownIt

from chat.markdown import formulas
from chat.markdown.code import add_code

TAGS = {
    "a", "blockquote", "br", "button", "code", "del", "div", "em", "figcaption", "figure", "h1", "h2", "h3", "h4", "h5",
    "h6", "hr", "li", "ol", "p", "pre", "span", "strong", "s", "table", "tbody", "td", "th", "thead", "tr", "ul",
}  # fmt: skip
LONGEST_TEXT = 100_000  # characters that are read as Markdown
MOST_BRACKETS = 5_000
MOST_CELLS = 65_536  # of tables, whose rows are filled up to the longest
ATTRIBUTES = {
    "a": {"href", "title"},
    "div": {"class", "tabindex", "role", "aria-label"},
    "span": {"class", "tabindex", "role", "aria-label"},
    "code": {"class"},
    "figure": {"class"},
    "pre": {"tabindex"},
    "button": {"type", "class", "data-copy-code"},
    "ol": {"start"},
}


def render(text: str, *, is_coloured: bool = True) -> str:
    """Return sanitised HTML, without any raw HTML of the model. Without colours for code it is faster.

    A text that would take long is shown as it was written.
    """
    if _is_heavy(text):
        return f'<pre tabindex="0"><code>{escape(text)}</code></pre>\n'
    return sanitise(make_parser(is_coloured=is_coloured).render(text))


def sanitise(html: str) -> str:
    """Return HTML with the tags and attributes alone that answers have."""
    return nh3.clean(
        html,
        tags=TAGS | formulas.TAGS,
        attributes=ATTRIBUTES | formulas.ATTRIBUTES,
        link_rel="noopener nofollow",
        url_schemes={"http", "https", "mailto"},
    )


def _is_heavy(text: str) -> bool:
    """Whether the parser would take long: a very long text, a table of very many cells, or very many brackets."""
    if len(text) > LONGEST_TEXT or text.count("[") > MOST_BRACKETS:
        return True
    pipes = [line.count("|") for line in text.split("\n")]
    return max(pipes) * sum(count > 0 for count in pipes) > MOST_CELLS


@cache
def make_parser(*, is_coloured: bool) -> MarkdownIt:
    """A parser that knows tables, code and formulas, and takes HTML for text."""
    parser = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])
    formulas.add_formulas(parser)
    add_code(parser, is_coloured=is_coloured)
    parser.add_render_rule("table_open", _open_table)
    parser.add_render_rule("table_close", lambda *_parts: "</table>\n</div>\n")
    return parser


def _open_table(*_parts: Any) -> str:
    """Open a table in its own box, which scrolls and can be reached by keyboard."""
    return f'<div class="scroll" tabindex="0" role="group" aria-label="{escape(_("Table"))}">\n<table>\n'
