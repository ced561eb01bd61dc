r"""Formulas become MathML, money stays text, and nothing in a formula runs, takes long or ends the process."""

import re
import threading
import time

import pytest

from chat.markdown.formulas import MOST_LEVELS, convert, find_open_block
from chat.markdown.rendering import render, sanitise
from chat.markdown.streaming import StreamingMarkdown

FRACTION = "<mfrac><mn>1</mn><mn>2</mn></mfrac>"


@pytest.mark.parametrize("formula", [r"\(\frac12\)", r"$\frac12$", r"\[\frac12\]", r"$$\frac12$$"])
def test_a_formula_in_a_line_becomes_mathml(formula):
    html = render(f"So {formula}, it is.")
    assert re.fullmatch(rf"<p>So <math[^>]*>{FRACTION}</math>, it is.</p>\n", html)


@pytest.mark.parametrize("formula", ["\\[\n\\frac12\n\\]", "$$\\frac12$$", "$$\n\\frac12\n$$", "\\[ \\frac12 \\]."])
@pytest.mark.parametrize("before", ["", "It follows:\n", "# Title\n"])
def test_a_formula_of_its_own_stands_in_a_box_that_the_keyboard_reaches(before, formula):
    html = render(f"{before}{formula}\nAfter it")
    box = '<div class="scroll formula" tabindex="0" role="group" aria-label="Formula">'
    assert f'{box}<math display="block">{FRACTION}</math></div>\n<p>After it</p>\n' in html


@pytest.mark.parametrize("mark", ["> ", "- ", "1. "])
def test_a_formula_may_stand_in_a_quote_and_in_a_list(mark):
    rest = mark if mark == "> " else " " * len(mark)
    html = render(f"{mark}Then\n{rest}\\[\n{rest}\\frac12\n{rest}\\]\n")
    assert FRACTION in html
    assert html.count("<li>") + html.count("<blockquote>") == 1


def test_lines_of_a_formula_are_neither_lists_nor_headings():
    html = render("\\[\na\n- b\n+ c\n= d\n\\]")
    assert "<li>" not in html
    assert html.count("<mo>") == 3


@pytest.mark.parametrize(
    "text",
    [
        "$5 and $10",
        "$5-$10",
        "It costs $5, or $ 6",
        "US$5 and A$6",
        "$5 for you and 10$",
        "$HOME/$USER",
        "from $5 to 5$x",
        r"\$x\$",
        "$",
        "$$",
        "a $x",
    ],
)
def test_money_and_variables_stay_text(text):
    html = render(text)
    assert "<math" not in html
    assert html == f"<p>{text.replace(chr(92), '')}</p>\n"


@pytest.mark.parametrize("text", ["`$x$`", "```\n$$x$$\n```", "    \\[ x \\]", "$a `b$` c"])
def test_code_has_no_formulas(text):
    assert "<math" not in render(text)


@pytest.mark.parametrize(
    "formula", [r"\( \unheard x \)", r"\[ \frac{ \]", r"$x & y$", r"an open \( and a lone \] too", r"\[[x](y)\]"]
)
def test_what_is_no_latex_stays_as_it_was_written(formula):
    html = render(f"So {formula}.")
    assert html == f"<p>So {formula.replace('&', '&amp;')}.</p>\n" or "<math" in html
    assert ("<math" in html) == (formula == r"\[[x](y)\]")
    assert "<a" not in html


def test_cells_are_set_by_classes_as_the_policy_forbids_styles():
    html = render("\\[\\begin{aligned} a &= b \\\\ c &= d \\end{aligned}\\]")
    assert html.count('<mtd class="right">') == html.count('<mtd class="left">') == 2
    assert " style=" not in html


HOSTILE = {
    "link": r"\href{javascript:alert(1)}{x}",
    "url": r"\url{javascript:alert(1)}",
    "tag in text": r"\text{<img src=x onerror=alert(1)>}",
    "style in text": r'\text{<b style="color:red">}',
    "script": "<script>alert(1)</script>",
    "closing math": "</math><script>alert(1)</script>",
    "annotation": r'\text{</mtext><annotation-xml encoding="text/html"><svg onload=alert(1)>}',
    "action": r'\text{<maction actiontype="statusline" href="javascript:alert(1)">}',
    "class": r"\class{x}{y}\htmlStyle{color:red}{y}\cssId{a}{b}",
    "colour": r"\color{javascript:alert(1)} x",
    "label": r"\begin{equation}a\label{'><script>alert(1)</script>}\end{equation}",
    "unicode": r"\unicode{x3c}script\unicode{x3e}",
    "entities": "&lt;script&gt; &#60;img&#62;",
    "right to left": "\u202e x \u2066 y",
    "nothing": "\x00 x",
    "a macro of itself": r"\def\a{\a\a}\a",
    "macros in macros": r"\newcommand{\a}[1]{#1#1#1#1#1#1#1#1}" + r"\a{" * 50 + "x" + "}" * 50,
    "a macro that nests": r"\def\a#1{{{{{{{{{{{{{{{{#1}}}}}}}}}}}}}}}}" + r"\a{" * 90 + "x" + "}" * 90,
    "let": r"\let\a\frac \a12",
    "braces": "{" * 990 + "}" * 990,
    "open braces": "{" * 1_990,
    "roots": r"\sqrt" * 390 + " x",
    "powers": "x^{" * 490 + "}" * 490,
    "fractions": r"\frac1" * 320 + "1",
    "brackets": r"\left(" * 150 + r"\right)" * 130,
    "accents": r"\hat" * 490 + " x",
    "environments": r"\begin{matrix}" * 70 + r"\end{matrix}" * 70,
    "cells": r"\begin{matrix}" + "&" * 1_900 + r"\end{matrix}",
    "rows": r"\begin{matrix}" + r"\\" * 900 + r"\end{matrix}",
    "styles": r"\displaystyle" * 150,
    "primes": "x" + "'" * 1_900,
    "space": r"\hspace{99999em}x",
    "rule": r"\rule{9999em}{9999em}",
    "emoji": "\N{GRINNING FACE}" * 900,
}


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.parametrize("form", ["\\({}\\)", "${}$", "\\[\n{}\n\\]", "$$\n{}\n$$"])
def test_a_hostile_formula_renders_harmless_in_the_stream_and_after_it(kind, form):
    text = "Then\n\n" + form.replace("{}", HOSTILE[kind]) + "\n\nend"
    streaming, shown, tail = StreamingMarkdown(), "", ""
    for start in range(0, len(text), 97):
        finished, tail = streaming.push(text[start : start + 97])
        shown += finished
    for html in (render(text), shown + tail):
        tags = re.findall(r"<[^>]*>", html)
        assert html.endswith("<p>end</p>\n")
        assert not {re.match(r"</?([\w-]*)", tag)[1] for tag in tags} & {
            "script", "img", "svg", "style", "maction", "annotation-xml", "annotation", "semantics", "b", "a",
        }  # fmt: skip
        assert not re.search(r" (on\w+|style|href|id|src)=", " ".join(tags))


@pytest.mark.parametrize(
    "html",
    [
        '<math href="javascript:alert(1)"><mi>x</mi></math>',
        '<math><annotation-xml encoding="text/html"><img src=x onerror=alert(1)></annotation-xml></math>',
        '<math><maction actiontype="statusline" xlink:href="javascript:alert(1)"><mi>x</mi></maction></math>',
        "<math><mtext><table><mglyph><style><!--</style><img title='--&gt;&lt;img src=x onerror=alert(1)&gt;'>",
        '<math><mi style="position:fixed" onclick="alert(1)" id="a">x</mi></math>',
    ],
)
def test_what_a_converter_might_write_is_sanitised_all_the_same(html):
    clean = sanitise(html)
    tags = " ".join(re.findall(r"<[^>]*>", clean))
    assert not re.search(r"href|annotation|maction|mglyph|style|onerror|onclick|img|id=", tags)


def test_the_deepest_formula_that_is_converted_needs_little_of_the_stack():
    """The converter would end the whole process: a thread of macOS has 512 KB."""
    formulas = ["x^{" * 199 + "}" * 199, r"\sqrt" * 199 + " x", r"\left(" * 99 + r"\right)" * 99, "{" * 200 + "}" * 200]
    results = []
    before = threading.stack_size(512 * 1024)
    try:
        thread = threading.Thread(target=lambda: results.extend(convert(one, is_block=True) for one in formulas))
    finally:
        thread.start()
        threading.stack_size(before)
    thread.join()
    assert len(results) == 4
    assert all(results)
    assert convert("{" * (MOST_LEVELS + 1) + "}" * (MOST_LEVELS + 1), is_block=True) is None


def test_a_formula_is_converted_in_many_threads_at_once():
    results = []
    threads = [
        threading.Thread(target=lambda: results.extend(convert(r"\frac12", is_block=False) for _ in range(200)))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [f"<math>{FRACTION}</math>"] * 1600


@pytest.mark.parametrize(
    "text", ["\\(" * 50_000, "\\[ a\n" * 20_000, "$$ a\n" * 20_000, "$a " * 33_000, "$" * 100_000, "\\(x\\) " * 16_000]
)
def test_a_hundred_thousand_characters_of_formulas_take_no_long_time(text):
    started = time.process_time()
    render(text)
    assert time.process_time() - started < 5


@pytest.mark.parametrize("step", [1, 7, 40])
@pytest.mark.parametrize(
    "text",
    [
        "It is\n\\[\na\n- b\n\n= c\n\\]\nand\n\nso",
        "It is\n\n\\[\na\n- b\n+ c\n\\]\n\nand on\n\nNext",
        "It is\n$$\na\n1. b\n# c\n$$\nand on\n\nNext",
        "So \\( a_1 * b \\) and $c$ it is\n\n- $d$\n- \\[ e \\]\n\nNext",
    ],
)
def test_a_formula_that_streams_ends_as_the_whole_has_it(text, step):
    streaming, shown, tail = StreamingMarkdown(), "", ""
    for start in range(0, len(text), step):
        finished, tail = streaming.push(text[start : start + step])
        shown += finished
    assert shown + tail == render(text)


def test_a_long_paragraph_that_streams_is_cut_before_an_open_formula():
    words = "word " * 118 + "\n"
    streaming = StreamingMarkdown()
    finished, tail = streaming.push(words + "\\[\nx = " + "1 + " * 60)
    assert finished.count("word") == 118
    shown, tail = streaming.push("1\n\\]\n\nNext")
    assert '<div class="scroll formula"' in shown
    assert tail == "<p>Next</p>\n"


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("a\n\\[\nb", 2),
        ("\\[ a \\]\n$$ b", 8),
        ("$$\na\n$$\n", None),
        ("\\[ a\n\nb", None),
        ("\\[" + "a" * 99, None),
        ("a \\[ b", None),
    ],
)
def test_the_place_of_an_open_formula_is_known(text, place):
    assert find_open_block(text, 100) == place
