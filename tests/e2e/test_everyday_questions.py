"""The first answer makes sense: ten everyday questions, asked of both demo models through the whole stack."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.e2e.asking import ask, receipt_of, shown
from tests.e2e.everyday_questions import QUESTIONS, is_right

pytestmark = pytest.mark.e2e

MODELS = {"gemma-3-270m": 7, "smollm2-135m": 8}  # how many of ten are right at temperature 0
FOREIGN = ("Person:", "Assistant:", "<|", "|>", "<start_of_turn>", "<end_of_turn>", "<bos>", "<eos>")


@pytest.fixture(scope="module")
def answer(openai_client):
    """Call it with a model, a question and options; returns (text, finish reason)."""

    def put(model, question, **options):
        messages = [{"role": "user", "content": question}]
        given = openai_client.chat.completions.create(model=model, messages=messages, max_tokens=200, **options)
        if not options.get("stream"):
            return given.choices[0].message.content, given.choices[0].finish_reason
        choices = [chunk.choices[0] for chunk in given if chunk.choices]
        return "".join(choice.delta.content or "" for choice in choices), choices[-1].finish_reason

    return put


def ask_all(answer, model, **options):
    """The answer to each question, all asked at once."""
    with ThreadPoolExecutor(len(QUESTIONS)) as pool:
        answers = pool.map(lambda question: answer(model, question, **options), QUESTIONS)
        return dict(zip(QUESTIONS, answers, strict=True))


def count_right(answers):
    return sum(is_right(question, text) for question, (text, _reason) in answers.items())


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
@pytest.mark.parametrize("model", MODELS)
def test_everyday_questions_are_answered_sensibly_and_end_by_themselves(answer, model, stream):
    answers = ask_all(answer, model, temperature=0, stream=stream, extra_body={"cache": "off"})
    assert count_right(answers) >= MODELS[model], answers
    assert [reason for _text, reason in answers.values()].count("stop") >= 9, answers
    for text, _reason in answers.values():
        assert not any(mark in text for mark in FOREIGN), text
        assert text == text.strip(), answers


@pytest.mark.parametrize("model", MODELS)
def test_at_the_default_temperature_six_of_ten_are_right_on_average(answer, model):
    right = [count_right(ask_all(answer, model, seed=seed, extra_body={"cache": "off"})) for seed in (1, 2, 3)]
    assert sum(right) / 3 >= 6, right


def test_a_second_question_goes_on_where_the_first_ended(openai_client):
    messages = [
        {"role": "user", "content": "What is the capital of France?"},
        {"role": "assistant", "content": "Paris, the capital of France."},
        {"role": "user", "content": "What is the capital of Italy?"},
    ]
    for model in MODELS:
        given = openai_client.chat.completions.create(model=model, messages=messages, max_tokens=100, temperature=0)
        assert "rome" in given.choices[0].message.content.lower(), given


def test_the_first_question_in_the_browser_is_answered(browse, stack):
    page = browse()
    assert page.locator("[name=model]:checked").input_value() == "gemma-3-270m"
    given = ask(page, "What is the capital of France?", model="gemma-3-270m")
    receipt_of(given)
    assert "Paris" in shown(given)
    assert not any(mark in shown(given) for mark in FOREIGN)
    assert "limit" not in given.inner_text()
    stack.verify_ledger()
