"""Log probabilities of every engine: of which tokens they are, and that they are the model's own."""

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from inference.engine.base import EngineRequest, Sampling
from tests.inference.engine.asking import GREEDY, ask, ask_at_once, make_engine, make_engine_of, text_of, tokens_of
from tests.inference.engine.small_engines import PAGE, count_set_backs, make_small_engine
from tests.inference.engine.small_engines import request as small_request
from tests.inference.engines import write

PROMPT = [2, 105, 364, 107, 925, 106, 107]
WILD = Sampling(temperature=1.5, seed=5, repetition_penalty=1.4, frequency_penalty=0.7, presence_penalty=-0.5)


@pytest.fixture(
    scope="module",
    params=[
        "fake",
        "paced",
        pytest.param(("Gemma3ForCausalLM", "int8"), marks=pytest.mark.slow),
        pytest.param(("LlamaForCausalLM", "int8"), marks=pytest.mark.slow),
        pytest.param(("Qwen2ForCausalLM", "float32"), marks=pytest.mark.slow),
    ],
    ids=str,
)
def engine(request, tiny_models):
    engine = make_engine_of(request.param, tiny_models)
    yield engine
    engine.close()


@pytest.fixture(params=["Gemma3ForCausalLM", "LlamaForCausalLM", "Qwen2ForCausalLM"])
def real(request, tiny_models):
    """A real engine in float32, and the folder of its model."""
    engine = make_engine(tiny_models, request.param, "float32")
    yield engine, tiny_models[request.param]
    engine.close()


def told(deltas):
    return [entry for delta in deltas for entry in delta.logprobs]


def joined(entries):
    """The text of the tokens' bytes; tiny models write bytes that are no characters, too."""
    return b"".join(entry.chosen.utf8 for entry in entries).decode(errors="replace")


def test_who_does_not_ask_is_told_nothing(engine):
    assert told(ask(engine, "silent")) == []


def test_the_bytes_of_the_tokens_are_the_text_and_say_where_they_begin(engine):
    deltas = ask(engine, "bytes", max_tokens=30, sampling=Sampling(seed=3, temperature=1.2), top_logprobs=0)
    text, entries = text_of(deltas), told(deltas)
    assert len(entries) > 5
    assert joined(entries)[: len(text)] == text
    assert [entry.top for entry in entries] == [()] * len(entries)
    assert entries[0].at == 0
    assert [entry.at for entry in entries] == sorted(entry.at for entry in entries)
    for entry in entries:
        if entry.chosen.utf8 == entry.chosen.text.encode():
            assert text[entry.at :].lstrip("\ufffd").startswith(entry.chosen.text.lstrip("\ufffd"))


def test_each_delta_has_the_tokens_of_its_text(engine):
    seen = 0
    for delta in ask(engine, "pieces", max_tokens=20, top_logprobs=1):
        assert all(seen <= entry.at < seen + len(delta.text) for entry in delta.logprobs)
        seen += len(delta.text)


def test_the_likeliest_are_sorted_and_no_more_than_all_there_is(engine):
    for entry in told(ask(engine, "likeliest", max_tokens=20, top_logprobs=20)):
        best = [candidate.logprob for candidate in entry.top]
        assert 0 < len(best) <= 20
        assert best == sorted(best, reverse=True)
        assert sum(map(math.exp, best)) <= 1.0001
        assert entry.chosen == entry.top[0]  # at temperature 0
    assert {len(entry.top) for entry in told(ask(engine, "three", top_logprobs=3))} == {3}


def test_what_is_cut_off_is_not_told(engine):
    whole = text_of(ask(engine, "whole", max_tokens=20))
    stop = whole[len(whole) // 2 :][:3]
    deltas = ask(engine, "cut", max_tokens=20, stop=(stop,), top_logprobs=2)
    text, entries = text_of(deltas), told(deltas)
    assert text == whole[: whole.index(stop)]
    assert all(entry.at < len(text) for entry in entries)
    assert joined(entries).startswith(text)


def test_blanks_that_are_left_out_are_not_told(engine):
    deltas = ask(engine, "trimmed", max_tokens=20, trims_start=True, top_logprobs=2)
    text, entries = text_of(deltas), told(deltas)
    assert joined(entries).strip().startswith(text)
    assert all(entry.at < len(text) for entry in entries)


def test_a_cancelled_answer_has_those_of_the_text_that_came(engine):
    deltas = []

    def cancel_at_the_third(delta):
        deltas.append(delta)
        if len(deltas) == 3:
            engine.cancel("cancelled")

    engine.write(EngineRequest("cancelled", [2, 925], 4000, GREEDY, top_logprobs=1), cancel_at_the_third)
    assert joined(told(deltas)) == text_of(deltas) != ""


def test_who_shares_the_batch_changes_nothing(engine):
    """Some ask and some do not: each gets its own, in every step."""

    def request(name, number, top):
        prompt = [2, 105, 364, *range(500, 501 + 3 * number), 106, 107]
        return EngineRequest(f"{name}-{number}", prompt, 20, Sampling(seed=number), top_logprobs=top)

    alone = [write(engine, request("alone", number, 5)) for number in range(4)]
    with ThreadPoolExecutor(8) as pool:
        asking = [pool.submit(write, engine, request("asking", number, 5)) for number in range(4)]
        silent = [pool.submit(write, engine, request("silent", number, None)) for number in range(4)]
    for number in range(4):
        assert text_of(silent[number].result()) == text_of(alone[number])
        assert told(silent[number].result()) == []
        together, before = told(asking[number].result()), told(alone[number])
        assert [entry.chosen.utf8 for entry in together] == [entry.chosen.utf8 for entry in before]
        found = [entry.chosen.logprob for entry in together]
        assert found == pytest.approx([entry.chosen.logprob for entry in before], abs=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("sampling", [GREEDY, WILD], ids=["greedy", "wild"])
def test_they_are_those_of_a_plain_forward_pass(real, sampling):
    """Whatever is done to the logits before a token is drawn."""
    import torch

    from inference.engine.loading import load_language_model

    engine, folder = real
    request = EngineRequest("plain", PROMPT, 24, sampling, top_logprobs=20)
    deltas = []
    drawn = drawn_by(engine, request, deltas)
    with torch.no_grad():
        logits = load_language_model(folder, "float32")(torch.tensor([[*PROMPT, *drawn]])).logits[0].float()
    expected = logits[len(PROMPT) - 1 : -1, : engine._vocabulary].log_softmax(-1)
    entries = told(deltas)
    shown = [place for place, token in enumerate(drawn) if engine._words.candidate(token, 0.0).utf8 is not None]
    for entry, place in zip(entries, shown, strict=False):
        assert entry.chosen.logprob == pytest.approx(expected[place, drawn[place]].item(), abs=2e-3)
        best = expected[place].topk(20).values.tolist()
        assert [each.logprob for each in entry.top] == pytest.approx(best, abs=2e-3)


@pytest.mark.slow
def test_those_of_eight_bits_are_of_its_own_logits(tiny_models):
    engine, logits = make_engine(tiny_models, "Gemma3ForCausalLM", "int8"), []
    hook = engine._manager.model.lm_head.register_forward_hook(
        lambda _module, _inputs, output: logits.append(output.detach().float().clone().view(-1, output.size(-1))[-1])
    )
    deltas = []
    drawn = drawn_by(engine, EngineRequest("eight", PROMPT, 12, WILD, top_logprobs=3), deltas)
    hook.remove()
    for entry, token, row in zip(told(deltas), drawn, logits, strict=False):
        expected = row[: engine._vocabulary].log_softmax(-1)
        assert entry.chosen.logprob == pytest.approx(expected[token].item(), abs=1e-4)
        assert [each.logprob for each in entry.top] == pytest.approx(expected.topk(3).values.tolist(), abs=1e-4)
    engine.close()


@pytest.mark.slow
def test_a_request_that_is_set_back_keeps_those_that_it_had(tiny_models):
    """A full cache has the newest requests begin anew, with their text so far as prompt."""
    engine = make_small_engine(tiny_models["Gemma3ForCausalLM"])
    asked = [
        replace(small_request(number, PAGE - 10, 60, Sampling(seed=number)), top_logprobs=1) for number in range(3)
    ]
    alone = [told(write(engine, one)) for one in asked]
    set_back = count_set_backs(engine)
    together = [told(deltas) for deltas in ask_at_once(engine, asked)]
    assert set_back, "the cache was not full"
    for before, after in zip(alone, together, strict=True):
        assert [(entry.at, entry.chosen.utf8) for entry in after] == [(entry.at, entry.chosen.utf8) for entry in before]
        expected = [entry.chosen.logprob for entry in before]
        assert [entry.chosen.logprob for entry in after] == pytest.approx(expected, abs=5e-3)
    engine.close()


def drawn_by(engine, request, deltas):
    """The ids that the engine draws; its deltas are added to `deltas`."""
    write_all = engine.write

    def note(request, on_delta):
        return write_all(request, lambda delta: (deltas.append(delta), on_delta(delta)))

    engine.write = note
    try:
        return tokens_of(engine, request)
    finally:
        engine.write = write_all
