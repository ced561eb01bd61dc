"""A page that sent its prompt to the version before gets that answer, not a second one."""

from chat.messages import _plain
from inference.generations.parameters import Parameters


def test_what_pages_ask_for_is_written_as_it_was_before_there_was_more():
    assert _plain(Parameters(max_tokens=5)) == (
        "Parameters(max_tokens=5, temperature=None, top_p=None, top_k=None, seed=None, stop=(), min_p=0.0,"
        " repetition_penalty=None)"
    )
