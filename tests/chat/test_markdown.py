"""Markdown becomes safe HTML, whole or as it streams."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat.markdown import StreamingMarkdown, render


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


def words(html):
    return re.sub(r"<[^>]*>|\s", "", html)
