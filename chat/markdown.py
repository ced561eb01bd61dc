"""Renders Markdown as safe HTML, either a whole text or one that is still streaming."""

import re
from collections.abc import Iterator, Sequence
from functools import cache, lru_cache
from html import escape
from typing import Any

import nh3
from django.utils.translation import gettext as _
from markdown_it import MarkdownIt
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name
from pygments.util import ClassNotFound

TAGS = {
    "a", "blockquote", "br", "button", "code", "del", "div", "em", "figcaption", "figure", "h1", "h2", "h3", "h4", "h5",
    "h6", "hr", "li", "ol", "p", "pre", "span", "strong", "s", "table", "tbody", "td", "th", "thead", "tr", "ul",
}  # fmt: skip
LONGEST_FORMULA = 2_000  # characters; the end of a formula is searched only so far
LONGEST_TEXT = 100_000  # characters that are read as Markdown
MOST_BRACKETS = 5_000
MOST_CELLS = 65_536  # of tables, whose rows are filled up to the longest
LONGEST_COLOURED = 20_000  # characters of code
BLANK_LINES = re.compile(r"\n{100,}")  # for which some lexers take a time that grows with their square
LONGEST_TAIL = 600  # characters of an unfinished block, which every push renders again
LONGEST_LANGUAGE = 40  # characters of the name of a language
_TABLE_HEAD = re.compile(r"<thead>.*?</thead>\n?", re.DOTALL)
_CODE_HEAD = re.compile(r'<figure class="block">\n<figcaption>.*?</figcaption>\n', re.DOTALL)
ATTRIBUTES = {
    "a": {"href", "title"},
    "div": {"class", "tabindex", "role", "aria-label"},
    "span": {"class"},
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
    html = _parser(is_coloured=is_coloured).render(text)
    return nh3.clean(
        html,
        tags=TAGS,
        attributes=ATTRIBUTES,
        link_rel="noopener nofollow",
        url_schemes={"http", "https", "mailto"},
    )


def _is_heavy(text: str) -> bool:
    """Whether the parser would take long: a very long text, a table of very many cells, or very many brackets."""
    if len(text) > LONGEST_TEXT or text.count("[") > MOST_BRACKETS:
        return True
    pipes = [line.count("|") for line in text.split("\n")]
    return max(pipes) * sum(count > 0 for count in pipes) > MOST_CELLS


class StreamingMarkdown:
    """Splits growing text into finished blocks, each rendered once, and the block that is still being written.

    A long block is finished in pieces: a list after an item, a table after a row, code after a line. So the work of a
    push is bounded, whatever the model writes. The page shows the pieces one below the other until the answer has
    ended; then it shows the whole answer.
    """

    def __init__(self) -> None:
        self._tail = ""
        self._lead = ""  # text put before the next pieces of a long block: the fence of code, the head of a table

    def push(self, text: str) -> tuple[str, str]:
        """Add text. Return the HTML of what it finished, often an empty text, and the HTML of the block in progress."""
        finished = "".join(_render_piece(lead, piece) for lead, piece in self._take_finished(text))
        return finished, _render_piece(self._lead, self._tail, is_coloured=False)

    def skip(self, text: str) -> None:
        """Add text that the reader already has, without rendering it."""
        for _finished in self._take_finished(text):
            pass

    def _take_finished(self, text: str) -> Iterator[tuple[str, str]]:
        """Add text, and yield each finished piece with its lead, which is put before it for rendering."""
        self._tail += text
        while True:
            tokens = _parser(is_coloured=False).parse(self._lead + self._tail)
            starts = [token.map[0] for token in tokens if token.level == 0 and token.map]
            lead_lines = self._lead.count("\n")
            if starts and starts[-1] > lead_lines:
                yield self._cut_before_line(starts[-1] - lead_lines, next_lead="")
            elif len(self._tail) <= LONGEST_TAIL or not (cut := _find_cut(tokens, self._lead, self._tail)):
                return
            else:
                place, next_lead = cut
                piece, lead = self._tail[:place], self._lead
                self._tail, self._lead = self._tail[place:], next_lead
                yield lead, piece

    def _cut_before_line(self, number: int, next_lead: str) -> tuple[str, str]:
        lines = self._tail.split("\n")
        piece, lead = "\n".join(lines[:number]) + "\n", self._lead
        self._tail, self._lead = "\n".join(lines[number:]), next_lead
        return lead, piece


def _find_cut(tokens: list[Token], lead: str, tail: str) -> tuple[int, str] | None:
    """The place where a long block may be cut, and the lead of the rest; None if it must not be cut, or not yet."""
    last_line = tail.rfind("\n") + 1
    block = next((token for token in tokens if token.level == 0 and token.map), None)
    if block is None:  # definitions of links, which render as nothing
        return (last_line, "") if last_line else _cut_anywhere(tail, "")
    if block.type == "fence" and "\n" in lead + tail:
        first = (lead + tail).partition("\n")[0]
        is_closed = tail.rstrip().endswith("\n" + block.markup)
        if is_closed:
            return None
        return (last_line, f"{first}\n") if last_line > (0 if lead else len(first) + 1) else _cut_anywhere(tail, lead)
    if block.type == "table_open":
        head = "\n".join((lead + tail).split("\n")[:2]) + "\n"
        return (last_line, head) if last_line > len(head) - len(lead) else _cut_anywhere(tail, lead)
    if block.type in ("bullet_list_open", "ordered_list_open"):
        items = [token.map[0] for token in tokens if token.type == "list_item_open" and token.level == 1 and token.map]
        if items[-1] > 0:
            return len("\n".join(tail.split("\n")[: items[-1]])) + 1, ""
    place = last_line or tail.rfind(" ") + 1
    return (place, "") if place else _cut_anywhere(tail, "")


def _cut_anywhere(tail: str, lead: str) -> tuple[int, str] | None:
    """The place to cut text without an end of a line or word: after LONGEST_TAIL, once it is twice as long."""
    return (LONGEST_TAIL, lead) if len(tail) > 2 * LONGEST_TAIL else None


def _render_piece(lead: str, piece: str, *, is_coloured: bool = True) -> str:
    """The HTML of a piece. The lead makes a code block or table of it, whose head is removed, as it was shown."""
    if not lead:
        return render(piece, is_coloured=is_coloured) if piece else ""
    html = _TABLE_HEAD.sub("", render(lead + piece, is_coloured=is_coloured), count=1)
    return _CODE_HEAD.sub('<figure class="block more">\n', html, count=1)


@cache
def _parser(*, is_coloured: bool) -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])
    parser.inline.ruler.before("escape", "formula", _keep_formula)
    parser.add_render_rule("fence", _write_coloured_code if is_coloured else _write_plain_code)
    parser.add_render_rule("table_open", _open_table)
    parser.add_render_rule("table_close", lambda *_parts: "</table>\n</div>\n")
    return parser


def _open_table(*_parts: Any) -> str:
    """Open a table in its own box, which scrolls and can be reached by keyboard."""
    return f'<div class="scroll" tabindex="0" role="group" aria-label="{escape(_("Table"))}">\n<table>\n'


def _keep_formula(state: StateInline, silent: bool) -> bool:
    r"""Keep `\( x \)` and `\[ x \]` as they were written, including Markdown's marks inside them.

    Models write formulas in this way, and Markdown would remove the backslashes. A bracket without its closing bracket
    keeps its backslash, too, because the rest of the formula may still be streamed.
    """
    start, opening = state.pos, state.src[state.pos : state.pos + 2]
    if opening not in ("\\(", "\\[", "\\)", "\\]"):
        return False
    closing = {"\\(": "\\)", "\\[": "\\]"}.get(opening, opening)
    end = state.src.find(closing, start + 2, min(state.posMax, start + LONGEST_FORMULA))
    is_whole = end >= 0 and closing != opening
    state.pos = end + 2 if is_whole else start + 2
    if not silent:
        state.push("text", "", 0).content = state.src[start : state.pos]
    return True


def _write_coloured_code(_renderer: Any, tokens: Sequence[Token], index: int, *_rest: Any) -> str:
    return _write_code(tokens[index], is_coloured=True)


def _write_plain_code(_renderer: Any, tokens: Sequence[Token], index: int, *_rest: Any) -> str:
    return _write_code(tokens[index], is_coloured=False)


def _write_code(token: Token, *, is_coloured: bool) -> str:
    """A block of code under a head, with its language and a button that copies it."""
    code, language = token.content, token.info.partition(" ")[0][:LONGEST_LANGUAGE]
    name = _name_of(language) if language else _("Code")
    button = f'<button type="button" class="mini" data-copy-code="">{escape(_("Copy"))}</button>'
    coloured = _highlight(code, language) if is_coloured and language else escape(code)
    return (
        f'<figure class="block">\n<figcaption>{escape(name)}{button}</figcaption>\n'
        f'<pre tabindex="0"><code>{coloured}</code></pre>\n</figure>\n'
    )


@lru_cache(maxsize=256)
def _name_of(language: str) -> str:
    """What people call a language: `py` is Python. An unknown one stays as it was written."""
    try:
        return str(get_lexer_by_name(language).name)
    except ClassNotFound:
        return language


def _highlight(code: str, language: str) -> str:
    """Colour code with CSS classes, since the policy forbids inline styles. Code in an unknown language stays plain."""
    if len(code) > LONGEST_COLOURED or BLANK_LINES.search(code):
        return escape(code)
    try:
        lexer = get_lexer_by_name(language, stripnl=False)
    except ClassNotFound:
        return escape(code)
    return highlight(code, lexer, HtmlFormatter(nowrap=True))
