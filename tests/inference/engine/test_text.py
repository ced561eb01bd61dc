"""Text that is shown holds whole characters and no stop string."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.engine.text import Shown, StopCutter, TextAssembler


@pytest.mark.parametrize(
    "text", ["naïve café", "日本語のテキスト", "👩‍👩‍👧 family", "Zażółć gęślą jaźń\n\ttab", "🏳️‍🌈" * 5]
)
def test_tokens_give_back_the_text_without_half_characters(tokenizer, text):
    assembler = TextAssembler(tokenizer, ())
    parts = [assembler.push(token) for token in tokenizer.encode(text, add_special_tokens=False).ids]
    assert "".join(parts) + assembler.flush() == text
    assert all("\ufffd" not in part for part in parts)


def test_control_tokens_are_counted_but_not_shown(tokenizer):
    assembler = TextAssembler(tokenizer, ())
    assert [assembler.push(106), assembler.push(1)] == ["", ""]
    assert assembler.completion_tokens == 2


def test_a_stop_string_inside_a_character_sequence_is_cut(tokenizer):
    assembler = TextAssembler(tokenizer, ("世",))
    parts = [assembler.push(token) for token in tokenizer.encode("hello 世界", add_special_tokens=False).ids]
    assert "".join(parts) == "hello "
    assert assembler.is_stopped


def test_a_transcripts_answer_has_no_blanks_around_it(tokenizer):
    assembler = TextAssembler(tokenizer, ("\nPerson:",), trims=True)
    tokens = tokenizer.encode("  \n Paris, of\n course. \n\nPerson: And?", add_special_tokens=False).ids
    parts = [assembler.push(token) for token in tokens]
    assert "".join(parts) + assembler.flush() == "Paris, of\n course."
    assert assembler.is_stopped


def test_an_answer_of_blanks_alone_is_empty(tokenizer):
    assembler = TextAssembler(tokenizer, (), trims=True)
    assert [assembler.push(token) for token in tokenizer.encode(" \n\t \u2003").ids] + [assembler.flush()] == [""] * (
        len(tokenizer.encode(" \n\t \u2003").ids) + 1
    )


@given(text=st.text(alphabet="ab \n", max_size=30), cuts=st.lists(st.integers(0, 30), max_size=8))
def test_however_text_is_split_its_blanks_are_trimmed_alike_and_at_once(text, cuts):
    edges = sorted({0, len(text), *(cut for cut in cuts if cut <= len(text))})
    shown = Shown(("aab",), trims=True)
    seen = ""
    for first, last in itertools.pairwise(edges):
        seen += shown.push(text[first:last])
        assert seen == seen.strip()
    assert seen + shown.flush() == text.partition("aab")[0].strip()


@pytest.mark.parametrize("stop", ["𒍅", "x𒍅", "𒍅y"])
def test_a_stop_string_whose_character_takes_several_tokens_is_cut_whole(tokenizer, stop):
    tokens = tokenizer.encode("hi x𒍅y z", add_special_tokens=False).ids
    spelled = [token for token in tokens if tokenizer.id_to_token(token).startswith("<0x")]
    assert len(spelled) > 1, "the character should be spelled in bytes"
    assembler = TextAssembler(tokenizer, (stop,))
    shown = "".join(assembler.push(token) for token in tokens) + assembler.flush()
    assert shown == "hi x𒍅y z"[: "hi x𒍅y z".index(stop)]
    assert assembler.is_stopped


@given(
    text=st.text(alphabet="abc", max_size=40),
    stops=st.lists(st.text(alphabet="abc", min_size=1, max_size=4), min_size=1, max_size=3),
    cuts=st.lists(st.integers(0, 40), max_size=8),
)
def test_however_text_is_split_it_is_cut_at_the_first_stop_string(text, stops, cuts):
    edges = sorted({0, len(text), *(cut for cut in cuts if cut <= len(text))})
    cutter = StopCutter(tuple(stops))
    shown = "".join(cutter.push(text[a:b]) for a, b in itertools.pairwise(edges)) + cutter.flush()
    assert not any(stop in shown for stop in stops)
    assert text.startswith(shown)
    if not any(stop in text for stop in stops):
        assert shown == text
