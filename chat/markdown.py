"""Markdown to safe HTML, whole or as it streams."""

from functools import cache

import nh3
from markdown_it import MarkdownIt
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name
from pygments.util import ClassNotFound

TAGS = {
    "a", "blockquote", "br", "code", "del", "div", "em", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "li", "ol", "p",
    "pre", "span", "strong", "s", "table", "tbody", "td", "th", "thead", "tr", "ul",
}  # fmt: skip
ATTRIBUTES = {"a": {"href", "title"}, "span": {"class"}, "code": {"class"}, "ol": {"start"}}


def render(text: str) -> str:
    """Return sanitised HTML: no raw HTML of the model's comes through."""
    html = _parser().render(text)
    return nh3.clean(
        html,
        tags=TAGS,
        attributes=ATTRIBUTES,
        link_rel="noopener nofollow",
        url_schemes={"http", "https", "mailto"},
    )


class StreamingMarkdown:
    """Splits growing text into blocks that are finished, rendered once, and the one still being written."""

    def __init__(self) -> None:
        self._tail = ""

    def push(self, text: str) -> tuple[str, str]:
        """Add text. Return the HTML of blocks that are now finished, often none, and of the block in progress."""
        self._tail += text
        starts = [token.map[0] for token in _parser().parse(self._tail) if token.level == 0 and token.map]
        finished = ""
        if starts and starts[-1] > 0:
            lines = self._tail.split("\n")
            finished = "\n".join(lines[: starts[-1]]) + "\n"
            self._tail = "\n".join(lines[starts[-1] :])
        return (render(finished) if finished else ""), render(self._tail)


@cache
def _parser() -> MarkdownIt:
    return MarkdownIt("commonmark", {"html": False, "highlight": _highlight}).enable(["table", "strikethrough"])


def _highlight(code: str, language: str, _attributes: str) -> str:
    """Colour code by classes; the policy forbids inline styles. An unknown language stays plain."""
    try:
        lexer = get_lexer_by_name(language, stripnl=False) if language else None
    except ClassNotFound:
        lexer = None
    return highlight(code, lexer, HtmlFormatter(nowrap=True)) if lexer else ""
