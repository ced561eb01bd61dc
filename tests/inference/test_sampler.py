"""The one-pass sampler draws what temperature, top-k and top-p say."""

from types import SimpleNamespace

import pytest
import torch

from inference.engine.base import Sampling
from inference.engine.sampler import Draw, OnePassSampler

pytestmark = pytest.mark.slow


def draw(logits, sampling, count=1):
    """Token ids drawn for one row of logits, `count` steps of one request."""
    sampler = OnePassSampler()
    state = SimpleNamespace(logit_processor_kwargs={"draw": Draw(sampling)})
    request = SimpleNamespace(state=state, has_new_token=True)
    drawn = []
    for _ in range(count):
        args = sampler.prepare_tensor_args([request], torch.zeros(4, 8, dtype=torch.int32))
        scores = sampler(torch.zeros(1, dtype=torch.long), torch.tensor([logits]), args)
        drawn.append(int(scores.argmax(-1)))
    return drawn


LOGITS = torch.log(torch.tensor([0.5, 0.3, 0.15, 0.05])).tolist() + [-1e9] * 96


def test_temperature_0_takes_the_best():
    assert set(draw(LOGITS, Sampling(temperature=0.0), 20)) == {0}


def test_top_k_1_takes_the_best():
    assert set(draw(LOGITS, Sampling(temperature=1.0, top_k=1), 20)) == {0}


def test_top_k_draws_among_the_best_k():
    assert set(draw(LOGITS, Sampling(temperature=1.0, top_p=1.0, top_k=2), 300)) == {0, 1}


def test_top_p_keeps_tokens_until_their_mass_is_reached():
    assert set(draw(LOGITS, Sampling(temperature=1.0, top_p=0.75), 300)) == {0, 1}


def test_draws_follow_the_probabilities():
    drawn = draw(LOGITS, Sampling(temperature=1.0, top_p=1.0, seed=3), 4000)
    shares = [drawn.count(token) / 4000 for token in range(4)]
    assert shares == pytest.approx([0.5, 0.3, 0.15, 0.05], abs=0.03)


def test_a_seed_draws_alike_whoever_shares_the_batch():
    sampler = OnePassSampler()
    mine, other = Draw(Sampling(seed=9, temperature=1.0)), Draw(Sampling(seed=1, temperature=2.0))
    batch = [
        SimpleNamespace(state=SimpleNamespace(logit_processor_kwargs={"draw": d}), has_new_token=True)
        for d in (other, mine)
    ]
    drawn = []
    for _ in range(30):
        args = sampler.prepare_tensor_args(batch, torch.zeros(4, 8, dtype=torch.int32))
        drawn.append(int(sampler(None, torch.tensor([LOGITS, LOGITS]), args)[1].argmax()))
    assert drawn == draw(LOGITS, Sampling(seed=9, temperature=1.0), 30)


def test_a_request_still_reading_its_prompt_draws_nothing():
    request = SimpleNamespace(state=SimpleNamespace(logit_processor_kwargs={}), has_new_token=False)
    args = OnePassSampler().prepare_tensor_args([request], torch.full((4, 8), 7, dtype=torch.int32))
    assert args.eq(7).all()
