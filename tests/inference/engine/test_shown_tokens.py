"""Which tokens have text that is shown, and how single tokens are written."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.engine.base import Candidate
from inference.engine.shown_tokens import ShownTokens
from inference.engine.text import Shown
from inference.engine.vocabulary import Vocabulary
from tests.inference.checkpoints import make_tokenizer


class Numbered:
    """Tokens without a text of their own."""

    def candidate(self, token_id, logprob):
        return Candidate(str(token_id), logprob, b"" if token_id < 1000 else None)


def pieces_of(text, cuts):
    """The text in tokens: some in the middle of a character, which complete nothing."""
    edges = sorted({0, len(text), *(cut for cut in cuts if cut <= len(text))})
    return [text[first:last] for first, last in itertools.pairwise(edges)]


@given(
    text=st.text(alphabet="ab \n", max_size=30),
    cuts=st.lists(st.integers(0, 30), max_size=8),
    trims=st.booleans(),
    stop=st.sampled_from([(), ("aab",), ("b a", " ")]),
)
def test_a_token_is_told_once_with_the_first_of_its_text_that_is_shown(text, cuts, trims, stop):
    shown, listed = Shown(stop, trims=trims), ShownTokens(Numbered(), 0)
    seen, told, place, spans = "", [], 0, []
    for number, piece in enumerate([*pieces_of(text, cuts), None]):
        if piece is None:
            new = shown.flush()
        else:
            spans.append((place, place + len(piece)))
            place += len(piece)
            listed.add(([number], [-1.0]), len(piece))
            new = shown.push(piece)
        entries = listed.take(shown.left_out, len(new))
        assert all(len(seen) <= entry.at < len(seen) + len(new) for entry in entries)
        seen += new
        told += [int(entry.chosen.text) for entry in entries]
    first, last = shown.left_out, shown.left_out + len(seen)
    assert told == [number for number, span in enumerate(spans) if seen and span[0] < last and span[1] > first]


def test_the_tokens_of_one_character_share_it_and_control_tokens_are_none():
    listed = ShownTokens(Numbered(), 5)
    for token, characters in ((1, 0), (2, 0), (1000, 0), (3, 1), (4, 2)):
        listed.add(([token, 8, 9], [-1.0, -1.0, float("-inf")]), characters)
    entries = listed.take(0, 2)
    assert [(entry.chosen.text, entry.at) for entry in entries] == [("1", 0), ("2", 0), ("3", 0), ("4", 1)]
    assert {tuple(each.text for each in entry.top) for entry in entries} == {("8",)}  # what cannot come is left out
    assert listed.take(0, 1) == ()


@pytest.mark.parametrize("text", ["naïve café", "日本語のテキスト", "👩‍👩‍👧 family 𒍅", "a\n\n\tb  c", "<|x|>"])
@pytest.mark.parametrize("kind", ["gemma", "bytes"])
def test_the_bytes_of_the_tokens_are_those_of_the_text(tokenizer, text, kind):
    words = tokenizer if kind == "gemma" else make_tokenizer()
    candidates = [
        Vocabulary(words).candidate(token, -1.0) for token in words.encode(text, add_special_tokens=False).ids
    ]
    assert b"".join(each.utf8 for each in candidates) == text.encode()
    for each in candidates:
        spelled = "".join(f"\\x{byte:02x}" for byte in each.utf8)
        assert each.text in (each.utf8.decode(errors="ignore"), spelled)


def test_a_control_token_has_its_name_and_no_bytes_and_a_nul_is_spelled(tokenizer):
    words = Vocabulary(tokenizer)
    assert words.candidate(106, -1.0) == Candidate("<end_of_turn>", -1.0, None)
    assert words.candidate(tokenizer.token_to_id("<0x00>"), -1.0) == Candidate("\\x00", -1.0, b"\x00")
    assert words.candidate(10_000_000, -1.0) == Candidate("<10000000>", -1.0, None)
