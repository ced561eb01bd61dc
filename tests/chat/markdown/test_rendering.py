"""Markdown becomes safe HTML, whole or as it streams."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from chat.markdown import streaming as markdown
from chat.markdown.code import LONGEST_LANGUAGE
from chat.markdown.rendering import render
from chat.markdown.streaming import LONGEST_TAIL, StreamingMarkdown


@pytest.mark.parametrize(
    "attack",
    [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "[click](javascript:alert(1))",
        '<a href="https://x" onclick="alert(1)">x</a>',
        "```html\n<script>alert(1)</script>\n```",
        '[x](https://x "onmouseover=alert(1)")',
        "<style>body{display:none}</style>",
    ],
)
def test_nothing_the_model_writes_runs(attack):
    tags = " ".join(re.findall(r"<[^>]*>", render(attack))).lower()
    for danger in ("script", "img", "style", "onclick", "onerror"):
        assert danger not in tags


def test_code_is_highlighted_by_classes_alone():
    html = render("```python\ndef f(): return 1\n```")
    assert '<span class="k">def</span>' in html
    assert "style=" not in html


def test_code_of_an_unknown_language_stays_as_it_is():
    assert "a &lt; b" in render("```klingon\na < b\n```")


@pytest.mark.parametrize(
    ("fence", "name"),
    [
        ("```py", "Python"),
        ("~~~js title=x", "JavaScript"),
        ("```klingon", "klingon"),
        ("```", "Code"),
        ('```"><b>x</b>', "&quot;&gt;&lt;b&gt;x&lt;/b&gt;"),
        ("```" + "x" * 5_000, "x" * LONGEST_LANGUAGE),
    ],
)
def test_code_has_a_head_with_its_language_and_a_copy_button(fence, name):
    html = render(f"{fence}\na < b\n{fence[:3]}")
    head = re.search("<figcaption>(.*?)<button(.*?)>Copy</button></figcaption>", html)
    assert head
    assert words(head[1]) == words(name.replace("&quot;", '"'))
    assert "data-copy-code" in head[2]
    assert html.count("<figure") == html.count("</figure>") == 1
    assert "<b>" not in html


@pytest.mark.parametrize("kind", ["code", "code in no language", "code, then a list"])
def test_code_in_pieces_has_its_head_once_and_from_the_first_line_on(kind):
    streaming, shown, tail = StreamingMarkdown(), "", ""
    for line in LONG[kind].splitlines(keepends=True):
        finished, tail = streaming.push(line)
        shown += finished
        assert (shown + tail).count("<figcaption>") == 1
    assert (shown + tail).count('class="block more"') >= 2


def test_two_blocks_of_code_have_two_heads():
    streaming, shown, tail = StreamingMarkdown(), "", ""
    for line in (LONG["code"] * 2).splitlines(keepends=True):
        finished, tail = streaming.push(line)
        shown += finished
    assert (shown + tail).count("<figcaption>") == 2


def test_a_finished_block_is_given_once_and_the_rest_is_the_tail():
    streaming = StreamingMarkdown()
    assert streaming.push("# Title\n\nSome") == ("<h1>Title</h1>\n", "<p>Some</p>\n")
    assert streaming.push(" text") == ("", "<p>Some text</p>\n")
    assert streaming.push("\n\n- one\n- two") == ("<p>Some text</p>\n", "<ul>\n<li>one</li>\n<li>two</li>\n</ul>\n")


@given(
    blocks=st.lists(
        st.sampled_from(["# A\n\n", "plain *text*\n\n", "- a\n- b\n\n", "```python\nx = 1\n```\n\n", "> quote\n\n"]),
        max_size=6,
    ),
    step=st.integers(1, 9),
)
def test_streamed_blocks_add_up_to_the_whole(blocks, step):
    text = "".join(blocks)
    streaming, shown, tail = StreamingMarkdown(), "", ""
    for start in range(0, len(text), step):
        finished, tail = streaming.push(text[start : start + step])
        shown += finished
    assert words(shown + tail) == words(render(text))


LONG = {
    "code": "```python\n"
    + "".join(f"def f{n}(x):\n    return 'text' * {n}  # comment\n\n" for n in range(150))
    + "```\n",
    "code in no language": "~~~\n" + "a line that is long enough\n" * 200 + "~~~\n",
    "code that is indented": "    a line of code\n" * 200,
    "list": "".join(f"- item {n} with *some* words and `code`\n" for n in range(150)),
    "numbers": "".join(f"{n + 1}. item with *some* words\n" for n in range(150)),
    "lists in lists": "".join(f"- item {n}\n  - one\n  - two\n\n" for n in range(150)),
    "table": "| a | b |\n|---|---|\n" + "".join(f"| row {n} | value **{n}** |\n" for n in range(150)),
    "quote": "".join(f"> line {n} goes on\n" for n in range(200)),
    "words": "plain words go on and on " * 200,
    "one item": "- " + "word " * 1000,
    "references": "".join(f"[{n}]: https://example.com/{n}/a-long-way-to-go\n" for n in range(60)),
    "no spaces": "![" * 1500,
    "one line of code": "```\n" + "x" * 5000,
    "code, then a list": "```\n" + "x = 1\n" * 300 + "```\n" + "- item\n" * 200,
}


@pytest.mark.parametrize("kind", LONG)
@pytest.mark.parametrize("step", [7, 40])
def test_what_a_push_costs_does_not_grow_with_the_block(kind, step, monkeypatch):
    """Else one customer with a long list keeps the event loop from everybody else."""
    text, looked_at = LONG[kind], []
    parse = MarkdownIt.parse
    monkeypatch.setattr(
        MarkdownIt, "parse", lambda self, source, env=None: looked_at.append(len(source)) or parse(self, source, env)
    )
    streaming, shown, tail = StreamingMarkdown(), "", ""
    for start in range(0, len(text), step):
        looked_at.clear()
        finished, tail = streaming.push(text[start : start + step])
        assert sum(looked_at) < 6 * LONGEST_TAIL
        assert len(tail) < 12 * LONGEST_TAIL
        shown += finished
    monkeypatch.undo()
    assert words(shown + tail) == words(render(text))


def test_pieces_of_code_are_coloured_once_they_are_finished_and_not_before():
    streaming = StreamingMarkdown()
    finished, tail = streaming.push("```python\n" + "def f(): return 1\n" * 60)
    assert finished.count('<span class="k">def</span>') == 60
    assert "<span" not in streaming.push("def g(): pass")[1]
    finished, tail = streaming.push("\n```\n\nDone")
    assert '<span class="k">pass</span>' in finished
    assert tail == "<p>Done</p>\n"


def test_a_table_in_pieces_has_its_head_once():
    streaming, shown, tail = StreamingMarkdown(), "", ""
    for line in LONG["table"].splitlines(keepends=True):
        finished, tail = streaming.push(line)
        shown += finished
    assert (shown + tail).count("<thead>") == 1
    assert (shown + tail).count("<tr>") == 151


def test_a_numbered_list_in_pieces_goes_on_counting():
    streaming, shown = StreamingMarkdown(), ""
    for line in LONG["numbers"].splitlines(keepends=True):
        shown += streaming.push(line)[0]
    starts = [int(number) for number in re.findall(r'<ol start="(\d+)"', shown)]
    assert starts == sorted(starts)
    assert len(starts) > 3


def test_skipped_text_is_rendered_by_nobody_and_what_follows_goes_on(monkeypatch):
    whole, resumed = StreamingMarkdown(), StreamingMarkdown()
    text = LONG["code"]
    whole.push(text[:2000])
    monkeypatch.setattr(markdown, "render", lambda *_args, **_options: 1 / 0)
    resumed.skip(text[:2000])
    monkeypatch.undo()
    assert words(resumed.push(text[2000:2600])[1]) == words(whole.push(text[2000:2600])[1])


def test_backslashes_elsewhere_are_markdowns_own():
    assert render(r"\*no emphasis\* and `\(code\)`") == "<p>*no emphasis* and <code>\\(code\\)</code></p>\n"


def test_a_table_stands_in_a_box_that_the_keyboard_reaches():
    html = render("| a |\n|---|\n| 1 |")
    assert '<div class="scroll" tabindex="0" role="group" aria-label="Table">\n<table>' in html
    assert html.endswith("</table>\n</div>\n")


def words(html):
    return re.sub(r"<[^>]*>|\s", "", html)


@pytest.mark.parametrize(
    "text",
    ["x" * 100_001, "[" * 5_001, "|a" * 300 + "|\n" + "|-" * 300 + "|\n" + "|\n" * 300],
    ids=["long", "brackets", "cells"],
)
def test_a_text_that_would_take_long_is_shown_as_it_was_written(text):
    assert render(text) == f'<pre tabindex="0"><code>{text}</code></pre>\n'


@pytest.mark.parametrize("code", ["x = 1\n" * 4_000, "x = 1" + "\n" * 4_000 + "y = 2"])
def test_code_that_would_take_long_has_no_colours(code):
    assert "<span" not in render(f"```python\n{code}\n```")
