"""Markdown that is still being written: what is finished is rendered once, what is in progress with every push."""

import re
from collections.abc import Iterator

from markdown_it.token import Token

from chat.markdown.formulas import find_open_block
from chat.markdown.rendering import make_parser, render

LONGEST_TAIL = 600  # characters of an unfinished block, which every push renders again
LONGEST_OPEN_FORMULA = 2 * LONGEST_TAIL  # characters that are waited for the end of a formula
_TABLE_HEAD = re.compile(r"<thead>.*?</thead>\n?", re.DOTALL)
_CODE_HEAD = re.compile(r'<figure class="block">\n<figcaption>.*?</figcaption>\n', re.DOTALL)


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
            tokens = make_parser(is_coloured=False).parse(self._lead + self._tail)
            starts = self._find_starts(tokens)
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

    def _find_starts(self, tokens: list[Token]) -> list[int]:
        """The lines where a block begins. What a formula that is still open seems to contain is no block."""
        text = self._lead + self._tail
        opening = find_open_block(text, LONGEST_OPEN_FORMULA)
        last_line = len(text) if opening is None else text.count("\n", 0, opening)
        return [token.map[0] for token in tokens if token.level == 0 and token.map and token.map[0] <= last_line]

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
    if block.type == "formula_block":
        return None
    formula = find_open_block(tail, LONGEST_OPEN_FORMULA)
    if formula is not None:
        return (formula, "") if formula else None
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
