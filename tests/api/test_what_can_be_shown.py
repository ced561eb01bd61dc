"""One rule for the text of all three doors: what cannot be shown is stripped, and the rest stays as it was written."""

import pytest

from chat.models import Message
from inference.models import Generation
from inference.prompting.showable import showable
from tests.api.bad_input import PAGE, REST, TALK
from tests.support.pasted import PASTED, SHOWN

pytestmark = pytest.mark.django_db(transaction=True)
INDENTED = "\n\n    def f():\n        return 1\n"


def test_only_tab_and_newline_stay_of_all_control_characters():
    text = "".join(map(chr, range(0x300)))
    assert showable(text) == "\t\n" + "".join(c for c in "\n" + text[0x20:0x7F] + text[0xA0:])
    assert showable("a\r\nb\rc") == "a\nb\nc"


@pytest.mark.parametrize("door", [PAGE, TALK, REST])
def test_what_cannot_be_shown_is_stripped_at_every_door(post, alice, tokenizer, door):
    status, told = post(door, {"text": PASTED})
    assert status < 300, told
    generation = Generation.objects.get()
    assert SHOWN in tokenizer.decode(generation.prompt_token_ids)
    assert "\x1b" not in tokenizer.decode(generation.prompt_token_ids)


@pytest.mark.parametrize("door", [PAGE, TALK])
def test_the_first_line_keeps_its_indentation(post, alice, door):
    post(door, {"text": INDENTED})
    assert Message.objects.earliest("pk").text == INDENTED.strip("\n")
