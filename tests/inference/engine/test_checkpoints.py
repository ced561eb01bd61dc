"""The real engine and what a checkpoint says of itself: its vocabulary, its stop tokens, what does not fit together."""

import shutil
from itertools import count

import pytest

from inference.engine.base import EngineError, EngineRequest, Sampling
from inference.engine.checkpoint import CheckpointError, read_checkpoint
from tests.inference.engine.asking import GREEDY, ask, make_engine, tokens_of
from tests.inference.engines import begin, write

pytestmark = pytest.mark.slow


@pytest.fixture
def forced_engine(tiny_models):
    """An engine that never stops by itself, and a function that makes it draw one id again and again."""
    from inference.engine.batching import BatchingEngine

    engine = BatchingEngine(tiny_models["Qwen2ForCausalLM"], precision="float32", ignores_stop_tokens=True)

    def force(token_id):
        def spoil(_module, _inputs, logits):
            logits[..., token_id] = 1e6
            return logits

        engine._manager.model.lm_head.register_forward_hook(spoil)

    yield engine, force
    engine.close()


def test_the_first_token_of_a_vocabulary_is_one_like_any_other(forced_engine):
    engine, force = forced_engine
    force(0)
    assert tokens_of(engine, EngineRequest("zeros", [0, 5, 0], 4, GREEDY)) == [0, 0, 0, 0]


def test_a_row_of_the_embedding_that_is_no_token_is_never_drawn(forced_engine):
    engine, force = forced_engine
    for row in (1024, 1087):
        force(row)
    for sampling in (GREEDY, Sampling(temperature=2.0, seed=3)):
        drawn = tokens_of(engine, EngineRequest(f"rows-{sampling.seed}", [5, 6], 40, sampling))
        assert len(drawn) == 40
        assert max(drawn) < 1024


@pytest.mark.parametrize("prompt", [[5, 1024], [5, -1]])
def test_a_prompt_with_a_token_that_the_model_does_not_have_fails_alone(forced_engine, prompt):
    engine, _force = forced_engine
    company = begin(engine, EngineRequest("company", [5, 6], 30, GREEDY))
    with pytest.raises(EngineError, match="a token that this model does not know"):
        write(engine, EngineRequest("unknown", prompt, 5, GREEDY))
    assert list(company)[-1].completion_tokens == 30


@pytest.mark.parametrize("name", ["Gemma3ForCausalLM", "LlamaForCausalLM", "Qwen2ForCausalLM"])
def test_the_stop_tokens_of_the_checkpoint_end_an_answer_and_are_counted(tiny_models, name):
    engine = make_engine(tiny_models, name, "float32")
    for number, token in enumerate(read_checkpoint(tiny_models[name]).stop_token_ids):
        steps = count(1)

        def spoil(_module, _inputs, logits, token=token, steps=steps):
            logits[..., token] = 1e6 if next(steps) == 3 else -1e6
            return logits

        hook = engine._manager.model.lm_head.register_forward_hook(spoil)
        deltas = ask(engine, f"stops-{number}", max_tokens=9)
        hook.remove()
        assert (deltas[-1].finish_reason, deltas[-1].completion_tokens) == ("stop", 3)
    engine.close()


def test_a_tokenizer_that_knows_more_than_the_embedding_is_refused(tiny_models, tmp_path, demo_folder):
    folder = shutil.copytree(tiny_models["LlamaForCausalLM"], tmp_path / "mixed")
    shutil.copy(demo_folder / "tokenizer.json", folder)
    with pytest.raises(CheckpointError, match=r"\d{6} tokens and its embedding 1024: they do not belong together"):
        make_engine({"mixed": folder}, "mixed")
    (folder / "tokenizer.json").write_text('{"model": {}}')
    with pytest.raises(CheckpointError, match=r"tokenizer\.json cannot be read"):
        make_engine({"mixed": folder}, "mixed")
