r"""Formulas of LaTeX in Markdown, which become MathML that browsers draw by themselves.

Models write `\( x \)` and `$x$` inside a line, and `\[ x \]` and `$$x$$` for a formula of its own. What the converter
does not know, and what would take too much, is shown as it was written.
"""

import re
from collections.abc import Sequence
from functools import cache
from html import escape
from typing import Any

from django.utils.translation import gettext as _
from markdown_it import MarkdownIt
from markdown_it.ruler import RuleOptionsType
from markdown_it.rules_block import StateBlock
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token
from math_core import LatexError, LatexToMathML

LONGEST_FORMULA = 2_000  # characters; the end of a formula is searched only so far
MOST_LEVELS = 200  # commands and nested braces; the converter calls itself for each, which takes 2 KB of the stack
MOST_EXPANSIONS = 100  # of the converter's own short forms, such as \iff
LONGEST_IN_LINE = 20  # signs that fit on a phone's line
CLOSINGS = {"\\(": "\\)", "\\[": "\\]", "$$": "$$"}
TAGS = {
    "math", "menclose", "mfrac", "mi", "mn", "mo", "mover", "mpadded", "mphantom", "mroot", "mrow", "mspace", "msqrt",
    "mstyle", "msub", "msubsup", "msup", "mtable", "mtd", "mtext", "mtr", "munder", "munderover",
}  # fmt: skip
ATTRIBUTES = {
    "math": {"display"},
    "menclose": {"notation"},
    "mfrac": {"displaystyle", "linethickness"},
    "mi": {"mathvariant"},
    "mo": {"stretchy", "lspace", "rspace", "minsize", "maxsize", "form", "fence", "separator", "movablelimits"},
    "mover": {"accent"},
    "mspace": {"width"},
    "mstyle": {"displaystyle", "scriptlevel"},
    "mtable": {"class", "displaystyle", "scriptlevel"},
    "mtd": {"class"},
    "munder": {"accentunder"},
    "munderover": {"accent", "accentunder"},
}
# The policy forbids inline styles. What the converter says in them of the cells of a table is said in classes.
LOOKS = {
    "text-align: right": "right",
    "text-align: left": "left",
    "padding-left:1em": "apart",
    "border-right": "bar",
    "border-top": "rule",
    "width: 50%": "half",
    "width: 100%": "wide",
}
_DEFINES = re.compile(r"\\(\w*def|\w*newcommand|providecommand|let|DeclareMathOperator)(?![A-Za-z])")
_COMMAND = re.compile(r"\\[A-Za-z]+")
_TAG = re.compile(r"<[^>]*>")
_STYLE = re.compile(r'(<m[a-z]+(?: [^<>]*?)?) style="([^"<>]*)"')
_MONEY = re.compile(r"\d[\d.,]*\s+[^\W\d_]{2,}")  # "5 for this and 10" is no formula
_BETWEEN_DOLLARS = re.compile(r"\$(?!\s)((?:\\.|[^$`\\\n]){1,500})(?<!\s)\$(?![\w$])")
_OPENING = re.compile(r"^ {0,3}(\\\[|\$\$)", re.MULTILINE)


def add_formulas(parser: MarkdownIt) -> None:
    """Let a parser of Markdown know formulas."""
    parser.inline.ruler.before("escape", "formula", _read_between_brackets)
    parser.inline.ruler.before("escape", "formula_in_dollars", _read_between_dollars)
    interrupts: RuleOptionsType = {"alt": ["paragraph", "reference", "blockquote", "list"]}
    parser.block.ruler.before("fence", "formula_block", _read_block, interrupts)
    parser.add_render_rule("formula", _write_formula)
    parser.add_render_rule("formula_block", _write_block)


def convert(formula: str, *, is_block: bool) -> str | None:
    """The MathML of a formula, to be sanitised; None if it cannot be had, or only with too much work."""
    if len(formula) > LONGEST_FORMULA or _count_levels(formula) > MOST_LEVELS or _DEFINES.search(formula):
        return None
    try:
        mathml = _converter().convert_with_local_state(formula, displaystyle=is_block)
    except LatexError:
        return None
    return _STYLE.sub(_write_class, mathml)


def find_open_block(text: str, longest: int) -> int | None:
    """Where the line begins that opens a formula of its own which is not closed yet; None if there is none.

    One that is longer than `longest` characters is given up, and so is one with an empty line.
    """
    position = 0
    while opening := _OPENING.search(text, position):
        end = text.find(CLOSINGS[opening[1]], opening.end())
        if end < 0 and len(text) - opening.start() <= longest and "\n\n" not in text[opening.start() :]:
            return opening.start()
        position = opening.end() if end < 0 else end + 2
    return None


@cache
def _converter() -> LatexToMathML:
    return LatexToMathML(fancy_error=False, max_expansions=MOST_EXPANSIONS)


def _count_levels(formula: str) -> int:
    """At most so deep the converter goes: each command may take the next one as its argument, as each brace may."""
    depth = deepest = 0
    for character in formula:
        depth += (character == "{") - (character == "}")
        deepest = max(deepest, depth)
    return deepest + len(_COMMAND.findall(formula))


def _write_class(style: re.Match[str]) -> str:
    names = " ".join(name for look, name in LOOKS.items() if look in style[2])
    return f'{style[1]} class="{names}"' if names else style[1]


def _read_between_brackets(state: StateInline, silent: bool) -> bool:
    r"""Read `\( x \)`, `\[ x \]` and `$$x$$`, in which Markdown's own marks mean nothing.

    A bracket without its closing bracket keeps its backslash, because the rest of the formula may still be streamed.
    """
    start, opening = state.pos, state.src[state.pos : state.pos + 2]
    if opening not in ("\\(", "\\[", "\\)", "\\]", "$$"):
        return False
    closing = CLOSINGS.get(opening)
    end = state.src.find(closing, start + 2, min(state.posMax, start + LONGEST_FORMULA)) if closing else -1
    state.pos = start + 2 if end < 0 else end + 2
    if not silent:
        token = state.push("text" if end < 0 else "formula", "", 0)
        token.content = state.src[start : state.pos]
        token.markup = opening
    return True


def _read_between_dollars(state: StateInline, silent: bool) -> bool:
    """Read `$x$`. Money is none: a formula neither begins nor ends with a space, nor stands at a word or number."""
    before = state.src[state.pos - 1] if state.pos else " "
    found = _BETWEEN_DOLLARS.match(state.src, state.pos, state.posMax)
    if not found or before.isalnum() or _MONEY.match(found[1]):
        return False
    state.pos = found.end()
    if not silent:
        token = state.push("formula", "", 0)
        token.content, token.markup = found[0], "$"
    return True


def _read_block(state: StateBlock, first_line: int, last_line: int, silent: bool) -> bool:
    """Read a formula that begins a line and ends one, without an empty line inside."""
    start = state.bMarks[first_line] + state.tShift[first_line]
    opening = state.src[start : start + 2]
    if opening not in ("\\[", "$$") or state.is_code_block(first_line):
        return False
    closing = CLOSINGS[opening]
    end = state.src.find(closing, start + 2, start + LONGEST_FORMULA)
    line = _line_of(state, first_line, last_line, end)
    if line is None or state.src[end + 2 : state.eMarks[line]].strip(" .,;"):
        return False
    if not silent:
        token = state.push("formula_block", "", 0)
        whole = state.getLines(first_line, line + 1, state.blkIndent, False).strip()
        token.content, token.markup, token.map = whole, opening, [first_line, line + 1]
    state.line = line + 1
    return True


def _line_of(state: StateBlock, first: int, last: int, place: int) -> int | None:
    """The line in which a place of the source lies, if it belongs to the same block; None otherwise."""
    for line in range(first, last if place >= 0 else first):
        if state.isEmpty(line) or state.sCount[line] < state.blkIndent:
            return None
        if place <= state.eMarks[line]:
            return line
    return None


def _write_formula(_renderer: Any, tokens: Sequence[Token], index: int, *_rest: Any) -> str:
    """A formula inside a line, in its own box if it may be wider than a phone; as it was written if it is none."""
    token = tokens[index]
    size = len(token.markup)
    mathml = convert(token.content[size:-size], is_block=token.markup in ("\\[", "$$"))
    if mathml is None:
        return escape(token.content, quote=False)
    is_long = len(_TAG.sub("", mathml)) > LONGEST_IN_LINE
    return f"<span {_box()}>{mathml}</span>" if is_long else mathml


def _write_block(_renderer: Any, tokens: Sequence[Token], index: int, *_rest: Any) -> str:
    """A formula of its own in its own box, which scrolls and can be reached by keyboard."""
    token = tokens[index]
    formula = token.content[2:].rpartition(CLOSINGS[token.markup])[0]
    mathml = convert(formula, is_block=True)
    if mathml is None:
        return f"<p>{escape(token.content, quote=False)}</p>\n"
    return f"<div {_box()}>{mathml}</div>\n"


def _box() -> str:
    label = escape(_("Formula"))
    return f'class="scroll formula" tabindex="0" role="group" aria-label="{label}"'
