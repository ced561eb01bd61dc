"""Blocks of code in Markdown, under a head with their language and a button that copies them, in colours."""

import re
from collections.abc import Sequence
from functools import lru_cache
from html import escape
from typing import Any

from django.utils.translation import gettext as _
from markdown_it import MarkdownIt
from markdown_it.token import Token
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name
from pygments.util import ClassNotFound

LONGEST_COLOURED = 20_000  # characters of code
BLANK_LINES = re.compile(r"\n{100,}")  # for which some lexers take a time that grows with their square
LONGEST_LANGUAGE = 40  # characters of the name of a language


def add_code(parser: MarkdownIt, *, is_coloured: bool) -> None:
    """Let a parser of Markdown write blocks of code, with colours or without."""
    parser.add_render_rule("fence", _write_coloured_code if is_coloured else _write_plain_code)


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
