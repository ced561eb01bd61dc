"""A chat template is a stranger's program: it is rendered, or refused with the reason, and harms nothing."""

import os
import subprocess
import time

import pytest

from inference.prompting import rendering
from inference.prompting.chat_template import try_template, write_conversation
from inference.prompting.conversation import Turn
from inference.prompting.rendering import ConversationRefused, Shape, SystemNotPlaced, Template, TemplateBroken, render
from tests.inference.prompting.templates import CHATML, GEMMA, HOSTILE, NO_SYSTEM, SYSTEM_DROPPED, SYSTEM_IN_LAST_TURN

TOKENS = (("bos_token", "<s>"), ("eos_token", "</s>"))
QUESTION, ANSWER = Turn("user", " How? "), Turn("assistant", "So.")


def written(source, system, turns):
    return "".join(part.text for part in write_conversation(Template(source, TOKENS), system, turns))


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_template_is_refused_with_the_reason_and_soon(name):
    source, reason = HOSTILE[name]
    started = time.monotonic()
    with pytest.raises(TemplateBroken, match=reason):
        try_template(Template(source, TOKENS))
    assert time.monotonic() - started < 4 * rendering.SECONDS
    started = time.monotonic()
    with pytest.raises(TemplateBroken):  # a second customer does not wait again
        try_template(Template(source, TOKENS))
    assert time.monotonic() - started < 1


def test_a_template_sees_nothing_of_our_environment(monkeypatch):
    monkeypatch.setenv("SECRET_KEY", "in the parent alone")
    seen = rendering._run  # what the child is started with
    child = subprocess.run

    def run(command, **options):
        assert "SECRET_KEY" in os.environ
        assert set(options["env"]) == {"LANG"}
        return child(command, **options)

    monkeypatch.setattr(subprocess, "run", run)
    assert seen(
        '{"template": "x", "special_tokens": {}, "conversations": [[]], "limits": '
        '{"seconds": 5, "memory_bytes": 500000000, "characters": 10}}'
    ) == [{"text": "x"}]


def test_a_template_keeps_or_trims_the_blanks_of_a_message_as_its_authors_wrote_it():
    assert written(CHATML, "", [QUESTION]) == "<|im_start|>user\n How? <|im_end|>\n<|im_start|>assistant\n"
    assert written(GEMMA, "", [QUESTION]) == "<s><start_of_turn>user\nHow?<end_of_turn>\n<start_of_turn>model\n"


def test_a_system_prompt_stands_where_the_template_has_a_place_for_it():
    assert written(CHATML, "Rhyme.", [QUESTION]).startswith("<|im_start|>system\nRhyme.<|im_end|>\n<|im_start|>user\n")
    assert "user\nRhyme.\n\n" in written(GEMMA, "Rhyme.", [QUESTION, ANSWER, QUESTION])
    last = written(SYSTEM_IN_LAST_TURN, "Rhyme.", [QUESTION, ANSWER, QUESTION])
    assert last == "<s>[INST]  How? [/INST] So.</s>[INST] Rhyme.\n\n How? [/INST]"


@pytest.mark.parametrize("source", [NO_SYSTEM, SYSTEM_DROPPED])
def test_a_system_prompt_without_a_place_leads_the_first_turn(source):
    text = written(source, "Rhyme.", [QUESTION, ANSWER, QUESTION])
    assert text.startswith("<|im_start|>user\nRhyme.\n\n How? <|im_end|>")
    assert text.count("Rhyme.") == 1


def test_a_refused_conversation_says_so_in_the_templates_words():
    with pytest.raises(ConversationRefused, match="must alternate"):
        render(Template(GEMMA, TOKENS), Shape(False, "assistant", 2))
    with pytest.raises(SystemNotPlaced):
        render(Template(SYSTEM_DROPPED, TOKENS), Shape(True, "user", 1))


def test_a_conversation_that_the_assistant_begins_follows_a_user_who_said_nothing_where_the_template_wants_one():
    begun = "<end_of_turn>\n<start_of_turn>model\nSo.<end_of_turn>\n<start_of_turn>user\nHow?"
    assert written(GEMMA, "", [ANSWER, QUESTION]).startswith(f"<s><start_of_turn>user\n{begun}")
    assert written(GEMMA, "Rhyme.", [ANSWER, QUESTION]).startswith(f"<s><start_of_turn>user\nRhyme.\n\n{begun}")
    assert written(CHATML, "", [ANSWER, QUESTION]).startswith("<|im_start|>assistant\nSo.")


def test_what_the_assistant_said_last_is_gone_on_with():
    assert written(CHATML, "", [QUESTION, ANSWER]).endswith("<|im_start|>assistant\nSo.")
    ended = "<end_of_turn>\n<start_of_turn>model\nSo."
    assert written(GEMMA, "Rhyme.", [QUESTION, ANSWER]).endswith(f"Rhyme.\n\nHow?{ended}")
    assert written(GEMMA, "", [ANSWER]).endswith(f"user\n{ended}")
    assert written(SYSTEM_IN_LAST_TURN, "Rhyme.", [QUESTION, ANSWER]).endswith("How? [/INST] So.")


def test_every_length_has_its_own_frame():
    for turns in (1, 3, 63, 65, 129, 501):
        said = [(QUESTION, ANSWER)[number % 2] for number in range(turns)]
        assert written(CHATML, "", said).count("<|im_start|>") == turns + 1
    assert written(CHATML, "", [ANSWER, QUESTION]).startswith("<|im_start|>assistant\nSo.")


def test_a_conversation_seldom_needs_a_process(monkeypatch):
    template = Template(CHATML + "{# counted #}", TOKENS)
    runs = []
    run = rendering._run
    monkeypatch.setattr(rendering, "_run", lambda request: runs.append(1) or run(request))
    for turns in (1, 3, 5, 61, 63):
        render(template, Shape(False, "user", turns))
    assert len(runs) == 1


def test_what_people_write_never_reaches_the_template():
    spy = "{% for m in messages %}{{ m.content }}{% if 'secret' in m.content %}SEEN{% endif %}{% endfor %}"
    assert written(spy, "", [Turn("user", "secret {{ 7 * 7 }} {% raw %}")]) == "secret {{ 7 * 7 }} {% raw %}"


def test_a_template_may_name_the_day():
    today = written("{{ strftime_now('%Y') }}{% for m in messages %}{{ m.content }}{% endfor %}", "", [QUESTION])
    assert today == time.strftime("%Y") + " How? "


def test_blocks_for_training_and_loop_controls_are_known():
    source = (
        "{% for m in messages %}{% if m.role == 'tool' %}{% break %}{% endif %}"
        "{% generation %}{{ m.content | trim }}{% endgeneration %}{% endfor %}{{ {'a': '<b>'} | tojson }}"
    )
    assert written(source, "", [QUESTION]) == 'How?{"a": "<b>"}'
