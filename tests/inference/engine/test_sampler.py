"""The one-pass sampler draws what temperature, top-k, top-p, min-p and the penalty say."""

from types import SimpleNamespace

import pytest
import torch
from transformers.generation.continuous_batching.input_outputs import ContinuousBatchingAsyncIOs

from inference.engine.base import COUNTED_TOKENS, Sampling
from inference.engine.logprobs import OUTPUT_ROWS, TOKENS, make_room
from inference.engine.sampler import NO_TOKEN_ID, Draw, OnePassSampler, read_first_row_for_no_token

pytestmark = pytest.mark.slow


def request(sampling, prompt=(5,), generated=(), under_way=0):
    state = SimpleNamespace(
        logit_processor_kwargs={"draw": Draw(sampling)},
        initial_tokens=list(prompt),
        generated_tokens=list(generated),
        position_offset=len(prompt) + len(generated) + under_way,
    )
    return SimpleNamespace(state=state, has_new_token=True)


def step(sampler, batch, logits, last=5):
    """Token ids drawn for one step of a batch; each row's last token is `last`."""
    args = sampler.prepare_tensor_args(batch, torch.zeros(sampler.tensors_required, 8, dtype=torch.int32))
    sampler(torch.full((len(batch),), last), torch.tensor(logits), args[:, : len(batch)])
    output = torch.zeros(1, 8, dtype=torch.int32)
    sampler.take(torch.empty(0), output)
    return output[0, : len(batch)].tolist()


def draw(logits, sampling, count=1, **tokens):
    """Token ids drawn for one row of logits, `count` steps of one request."""
    sampler, batch = OnePassSampler(), [request(sampling, **tokens)]
    return [step(sampler, batch, [logits])[0] for _ in range(count)]


# The candidates are 1 to 4.
LOGITS = [-1e9, *torch.log(torch.tensor([0.5, 0.3, 0.15, 0.05])).tolist(), *[-1e9] * 95]


def test_temperature_0_takes_the_best():
    assert set(draw(LOGITS, Sampling(temperature=0.0), 20)) == {1}


def test_top_k_1_takes_the_best():
    assert set(draw(LOGITS, Sampling(temperature=1.0, top_k=1), 20)) == {1}


def test_top_k_draws_among_the_best_k():
    assert set(draw(LOGITS, Sampling(temperature=1.0, top_p=1.0, top_k=2), 300)) == {1, 2}


def test_top_p_keeps_tokens_until_their_mass_is_reached():
    assert set(draw(LOGITS, Sampling(temperature=1.0, top_p=0.75), 300)) == {1, 2}


def test_min_p_drops_what_is_unlikely_beside_the_best():
    assert set(draw(LOGITS, Sampling(temperature=1.0, top_p=1.0, min_p=0.25), 300)) == {1, 2, 3}
    assert set(draw(LOGITS, Sampling(temperature=1.0, top_p=1.0, min_p=1.0), 50)) == {1}


def test_draws_follow_the_probabilities():
    drawn = draw(LOGITS, Sampling(temperature=1.0, top_p=1.0, seed=3), 4000)
    shares = [drawn.count(token) / 4000 for token in range(1, 5)]
    assert shares == pytest.approx([0.5, 0.3, 0.15, 0.05], abs=0.03)


@pytest.mark.parametrize("tokens", [{"prompt": [7, 1]}, {"generated": [1]}, {"generated": [1, *range(6, 60)]}])
def test_the_penalty_makes_recent_tokens_less_likely(tokens):
    logits = [2.0 if token == 1 else 1.9 if token == 2 else -5.0 for token in range(100)]
    greedy = Sampling(temperature=0.0)
    assert draw(logits, greedy, **tokens) == [1]
    assert draw(logits, Sampling(temperature=0.0, repetition_penalty=1.2), **tokens) == [2]


def test_the_penalty_divides_what_is_above_zero_and_multiplies_what_is_below():
    logits = [-9.0, -1.0, -1.1, *[-9.0] * 97]
    assert draw(logits, Sampling(temperature=0.0, repetition_penalty=2.0), generated=[1]) == [2]
    assert draw(logits, Sampling(temperature=0.0, repetition_penalty=0.5), generated=[2]) == [2]


def test_the_penalty_forgets_tokens_of_long_ago():
    logits = [2.0 if token == 1 else 1.9 if token == 2 else -5.0 for token in range(100)]
    assert draw(logits, Sampling(temperature=0.0, repetition_penalty=1.2), generated=[1, *[8] * 64]) == [1]


def test_the_penalty_of_one_request_leaves_the_others_alone():
    logits = [2.0 if token == 1 else 1.9 if token == 2 else -5.0 for token in range(100)]
    punished = request(Sampling(temperature=0.0, repetition_penalty=1.2), generated=[1])
    other = request(Sampling(temperature=0.0), generated=[1])
    assert step(OnePassSampler(), [other, punished, other], [logits] * 3) == [1, 2, 1]


def flat(**best):
    """Logits that are low but for these tokens, named t1, t2 …"""
    return [best.get(f"t{token}", -9.0) for token in range(100)]


def test_the_frequency_penalty_counts_how_often_the_answer_has_a_token():
    logits = flat(t1=3.0, t2=2.0)
    once, twice = (Sampling(temperature=0.0, frequency_penalty=0.6) for _ in range(2))
    assert draw(logits, once, generated=[1]) == [1]
    assert draw(logits, twice, generated=[1, 7, 1]) == [2]
    assert draw(logits, twice, prompt=[1, 1, 1]) == [1]  # the prompt is no answer
    assert draw(logits, Sampling(temperature=0.0, frequency_penalty=-0.6), generated=[2, 2]) == [2]


def test_the_presence_penalty_is_the_same_however_often_a_token_is_there():
    logits = flat(t1=3.0, t2=2.0)
    assert draw(logits, Sampling(temperature=0.0, presence_penalty=0.9), generated=[1] * 50) == [1]
    assert draw(logits, Sampling(temperature=0.0, presence_penalty=1.1), generated=[1]) == [2]


def test_both_penalties_add_up_as_openai_defines_them():
    logits, sampling = flat(t0=3.0, t1=2.0), Sampling(temperature=0.0, frequency_penalty=0.25, presence_penalty=0.45)
    assert draw(logits, sampling, generated=[0, 0]) == [0]  # 3 - 0.5 - 0.45
    assert draw(logits, sampling, generated=[0, 0, 0]) == [1]  # 3 - 0.75 - 0.45


def test_the_penalties_know_the_latest_different_tokens_and_follow_an_answer_step_by_step():
    sampler = OnePassSampler()
    one = request(Sampling(temperature=0.0, presence_penalty=2.0), generated=[1])
    logits = [3.0 if token == 1 else 2.0 if token == 2 else -9.0 for token in range(400)]
    assert step(sampler, [one], [logits]) == [2]
    one.state.generated_tokens.extend(range(100, 100 + COUNTED_TOKENS - 1))
    assert step(sampler, [one], [logits]) == [2]
    one.state.generated_tokens.append(399)
    assert step(sampler, [one], [logits]) == [1]  # 256 others came since
    one.state.generated_tokens[:] = [1]  # begun anew, with what was written in the prompt
    assert step(sampler, [one], [logits]) == [2]


def test_a_token_that_only_the_device_knows_yet_is_counted_too():
    """A step that is prepared while the one before it is under way, as on a GPU."""
    logits = flat(t1=3.0, t2=2.0)
    for generated in ([], [1], [1, 7]):
        for sampling in (
            Sampling(temperature=0.0, frequency_penalty=0.6),
            Sampling(temperature=0.0, frequency_penalty=0.1, presence_penalty=0.85),
        ):
            known = OnePassSampler(), [request(sampling, generated=[*generated, 1])]
            ahead = OnePassSampler(), [request(sampling, generated=generated, under_way=1)]
            assert step(*known, [logits], last=1) == step(*ahead, [logits], last=1), (generated, sampling)
    once = request(Sampling(temperature=0.0, presence_penalty=1.1), under_way=1)
    assert step(OnePassSampler(), [once], [logits], last=1) == [2]


def test_the_penalties_of_one_request_leave_the_others_alone():
    logits = flat(t1=3.0, t2=2.0)
    punished = request(Sampling(temperature=0.0, presence_penalty=2.0), generated=[1])
    other = request(Sampling(temperature=0.0), generated=[1])
    assert step(OnePassSampler(), [other, punished, other], [logits] * 3) == [1, 2, 1]


def test_a_seed_draws_alike_whoever_shares_the_batch():
    sampler, batch = OnePassSampler(), [request(Sampling(seed=1, temperature=2.0)), request(Sampling(seed=9))]
    together = [step(sampler, batch, [LOGITS, LOGITS])[1] for _ in range(30)]
    assert together == draw(LOGITS, Sampling(seed=9), 30)
    assert together != draw(LOGITS, Sampling(seed=8), 30)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_logits_that_are_no_numbers_fail_their_row_alone(bad):
    broken = [*LOGITS[:50], bad, *LOGITS[51:]]
    batch = [request(Sampling(temperature=0.0)) for _ in range(3)]
    assert step(OnePassSampler(), batch, [LOGITS, broken, LOGITS]) == [1, NO_TOKEN_ID, 1]


def test_no_number_is_the_id_of_no_token_and_the_first_token_is_one():
    assert NO_TOKEN_ID < 0
    assert step(OnePassSampler(), [request(Sampling(temperature=0.0))], [[1.0, *[0.0] * 99]]) == [0]


def test_whoever_drew_no_number_disturbs_neither_the_penalty_nor_the_next_step_of_the_others():
    """The next step may be under way before anybody has seen what the last one drew."""
    punished = Sampling(temperature=0.0, repetition_penalty=1.2)
    logits = [2.0 if token == 1 else 1.9 if token == 2 else -5.0 for token in range(100)]
    batch = [request(punished, generated=[1, NO_TOKEN_ID]), request(punished, generated=[1])]
    assert step(OnePassSampler(), batch, [logits, logits], last=NO_TOKEN_ID) == [2, 2]
    embedding = torch.nn.Embedding(10, 4)
    read_first_row_for_no_token(embedding)
    read = torch.full((1, 3), 7)
    carry_over = ContinuousBatchingAsyncIOs.carry_over_tokens
    drawn = torch.tensor([[NO_TOKEN_ID, 5, 0, 0]])
    carry_over(None, read, torch.tensor([0, 1, -1]), drawn)  # the first two go on, the third reads its prompt
    assert read.tolist() == [[NO_TOKEN_ID, 5, 7]]
    assert torch.equal(embedding(read)[0, 1:], embedding.weight[[5, 7]])


def test_rows_of_the_embedding_that_are_no_tokens_are_not_drawn_even_if_they_are_no_numbers():
    sampler, logits = OnePassSampler(vocabulary=5), [*LOGITS[:5], 50.0, float("nan"), *[90.0] * 93]
    batch = [request(Sampling(temperature=1.0, top_p=1.0, seed=seed)) for seed in range(8)]
    drawn = {token for _ in range(20) for token in step(sampler, batch, [logits] * 8)}
    assert drawn == {1, 2, 3, 4}


def test_the_best_of_a_large_vocabulary_are_those_of_a_full_search():
    from inference.engine.sampler import _find_best

    scores = torch.randn(5, 16_384, generator=torch.Generator().manual_seed(1))
    best, ids = _find_best(scores)
    wanted = scores.topk(64, dim=-1)
    assert torch.equal(best, wanted.values)
    assert torch.equal(ids, wanted.indices)


def test_a_request_still_reading_its_prompt_draws_nothing():
    waiting = SimpleNamespace(state=SimpleNamespace(logit_processor_kwargs={}), has_new_token=False)
    sampler = OnePassSampler()
    storage = torch.full((sampler.tensors_required, 8), 7, dtype=torch.int32)
    assert sampler.prepare_tensor_args([waiting], storage).eq(7).all()


def log_step(sampler, batch, logits):
    """The rows of a step in which somebody asks, and the operations that it took."""
    from torch.utils._python_dispatch import TorchDispatchMode

    done = []

    class Record(TorchDispatchMode):
        def __torch_dispatch__(self, function, _types, args=(), kwargs=None):
            done.append(str(function))
            return function(*args, **(kwargs or {}))

    args = sampler.prepare_tensor_args(batch, torch.zeros(sampler.tensors_required, 8, dtype=torch.int32))
    with Record():
        sampler(torch.full((len(batch),), 5), torch.tensor(logits), args[:, : len(batch)])
    output = torch.full((OUTPUT_ROWS, 8), 7, dtype=torch.int32)
    sampler.take(torch.empty(0), output)
    return output[:, : len(batch)], done


def asking(sampling, **tokens):
    asks = request(sampling, **tokens)
    asks.state.logit_processor_kwargs["draw"] = Draw(sampling, asks_logprobs=True)
    return asks


def test_log_probabilities_are_of_the_logits_before_the_penalties_and_ids_that_are_no_tokens():
    sampler, logits = OnePassSampler(vocabulary=5), [*LOGITS[:5], *[90.0] * 95]
    batch = [request(Sampling()), asking(Sampling(temperature=0.0, presence_penalty=2.0), generated=[1])]
    rows, _done = log_step(sampler, batch, [logits] * 2)
    assert rows[:3, 1].tolist() == [2, 1, 2]  # the drawn one, then the best
    values = rows[TOKENS:, 1].contiguous().view(torch.float32)
    assert values[:5].exp().tolist() == pytest.approx([0.3, 0.5, 0.3, 0.15, 0.05], abs=1e-4)
    assert values[6:].eq(-torch.inf).all()  # there are no more tokens


def test_a_step_in_which_nobody_asks_does_no_more_than_before():
    sampler, batch = OnePassSampler(), [request(Sampling(temperature=0.0))]
    rows, done = log_step(sampler, batch, [LOGITS])
    assert rows[0].tolist() == [1]
    assert rows[1:].eq(7).all()
    assert not any("log_softmax" in each for each in done)
    assert sum("topk" in each for each in done) == 1
    assert any("log_softmax" in each for each in log_step(sampler, [asking(Sampling())], [LOGITS])[1])


class Tensors:
    """What the library keeps of a step under way, as far as it is read and written here."""

    def __init__(self):
        self.output_ids = torch.zeros((1, 9), dtype=torch.int32)
        self.requests_in_batch = []

    def prepare_batch_update(self):
        return self.requests_in_batch, self.output_ids[0, : len(self.requests_in_batch)].tolist(), None

    def _get_graph_key(self):
        return (4,)


def test_with_two_steps_under_way_each_has_its_own_and_graphs_are_told_apart():
    """As in asynchronous batching: a step is read when the next one is under way already."""
    pairs = [SimpleNamespace(host_io=Tensors(), device_io=Tensors()) for _ in range(2)]
    sampler = OnePassSampler()
    make_room(SimpleNamespace(inputs_and_outputs=SimpleNamespace(io_pairs=pairs)), lambda: sampler.asks_logprobs)
    keys = []
    reading = SimpleNamespace(state=SimpleNamespace(logit_processor_kwargs={}), has_new_token=False)
    for pair, batch in zip(
        pairs, ([reading, request(Sampling()), asking(Sampling())], [request(Sampling())]), strict=True
    ):
        args = sampler.prepare_tensor_args(batch, torch.zeros(sampler.tensors_required, 8, dtype=torch.int32))
        drawing = [each for each in batch if each.has_new_token]
        keys.append(pair.device_io._get_graph_key())
        sampler(
            torch.full((len(drawing),), 5),
            torch.tensor([LOGITS[::-1], LOGITS][-len(drawing) :]),
            args[:, : len(drawing)],
        )
        sampler.take(torch.empty(0), pair.device_io.output_ids)
        pair.host_io.output_ids.copy_(pair.device_io.output_ids)
        pair.host_io.requests_in_batch = batch
    assert keys == [(4, 1), (4, 0)]
    _requests, tokens, logprobs = pairs[0].host_io.prepare_batch_update()
    assert logprobs[0] is None
    ids, values = logprobs[1]
    assert ids[0] == tokens[1]
    assert ids[1:5] == [1, 2, 3, 4]
    assert values[1:5] == pytest.approx(LOGITS[1:5], abs=1e-4)
    assert pairs[1].host_io.prepare_batch_update()[2] is None
