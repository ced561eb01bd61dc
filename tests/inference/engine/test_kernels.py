"""The compiled steps between matrices compute what torch does, row by row, whoever else is there."""

import numpy as np
import pytest
import torch
from torch.nn.functional import gelu, rms_norm, scaled_dot_product_attention, silu
from transformers.models.gemma3.modeling_gemma3 import apply_rotary_pos_emb

from inference.engine.cpu import kernels

pytestmark = pytest.mark.slow
EPSILON, LIMIT = 1e-6, 63.0


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def hadamard(size):
    """Sylvester's: each next one is four of the last."""
    matrix = torch.ones(1, 1)
    while len(matrix) < size:
        matrix = torch.cat((torch.cat((matrix, matrix), 1), torch.cat((matrix, -matrix), 1)))
    return matrix


def call(kernel, *arguments):
    """Run a kernel on tensors."""
    kernel(*(part.numpy() if isinstance(part, torch.Tensor) else part for part in arguments))


@pytest.mark.parametrize(("columns", "group"), [(640, 128), (2048, 128), (640, 64), (96, 32), (7, 1)])
def test_groups_of_columns_are_mixed_by_a_hadamard_matrix(columns, group):
    row = random(columns)
    wanted = (row.view(-1, group) @ hadamard(group)).view(-1)
    kernels.mix(row.numpy(), group)
    assert torch.allclose(row, wanted, atol=1e-4)


@pytest.mark.parametrize("tokens", [1, 5])
def test_rows_are_scaled_to_the_limit(tokens):
    rows = random(tokens, 640) * 3
    scaled, steps = torch.empty_like(rows), torch.empty(tokens)
    call(kernels.scale_rows, rows, 128, LIMIT, scaled, steps)
    mixed = (rows.view(tokens, -1, 128) @ hadamard(128)).view(tokens, -1) / 128**0.5
    assert torch.allclose(scaled * steps.unsqueeze(1), mixed, atol=1e-4)
    assert torch.allclose(scaled.abs().amax(-1), torch.tensor(LIMIT), rtol=1e-5)


def test_a_row_of_zeros_stays_zero_and_what_is_no_number_stays_in_its_row():
    rows = random(4, 256)
    rows[0], rows[1, 3], rows[2, 200] = 0.0, float("nan"), float("inf")
    scaled, steps = torch.empty_like(rows), torch.empty(4)
    call(kernels.scale_rows, rows, 128, LIMIT, scaled, steps)
    assert scaled[0].eq(0).all()
    assert steps.isfinite().tolist() == [True, False, False, True]
    assert scaled[3].isfinite().all()


def test_the_norm_before_a_product_is_torchs():
    rows, weight = random(3, 640), random(640, seed=1)
    scaled, steps, wanted, wanted_steps = torch.empty(3, 640), torch.empty(3), torch.empty(3, 640), torch.empty(3)
    call(kernels.normalise_and_scale, rows, weight, EPSILON, 128, LIMIT, scaled, steps)
    call(kernels.scale_rows, rms_norm(rows, (640,), weight, EPSILON), 128, LIMIT, wanted, wanted_steps)
    assert torch.allclose(scaled, wanted, atol=1e-3)
    assert torch.allclose(steps, wanted_steps, rtol=1e-5)


@pytest.mark.parametrize("has_bias", [True, False])
def test_a_product_gets_its_factor_and_its_bias(has_bias):
    products, steps, bias = random(3, 640), random(3, seed=1).abs(), random(640 if has_bias else 0, seed=2)
    wanted = products * steps.unsqueeze(1) + (bias if has_bias else 0)
    call(kernels.finish_rows, products, steps, bias)
    assert torch.allclose(products, wanted, atol=1e-6)


@pytest.mark.parametrize("has_bias", [True, False])
@pytest.mark.parametrize("has_norm", [True, False])
def test_a_product_or_its_norm_is_added(has_norm, has_bias):
    hidden, products, steps = random(3, 640), random(3, 640, seed=1), random(3, seed=2).abs()
    bias, weight = random(640 if has_bias else 0, seed=3), random(640 if has_norm else 0, seed=4)
    product = products * steps.unsqueeze(1) + (bias if has_bias else 0)
    wanted = hidden + (rms_norm(product, (640,), weight, EPSILON) if has_norm else product)
    result = torch.empty_like(hidden)
    call(kernels.add_products, hidden, products.clone(), steps, bias, weight, EPSILON, result)
    assert torch.allclose(result, wanted, atol=1e-5)
    call(kernels.add_products, hidden, products, steps, bias, weight, EPSILON, hidden)
    assert torch.equal(hidden, result)


def test_adding_and_the_next_norm_in_one_go_are_the_two_after_each_other():
    hidden, products, steps = random(3, 640), random(3, 640, seed=1), random(3, seed=2).abs()
    bias, weight, next_weight = random(640, seed=3), random(640, seed=4), random(640, seed=5)
    wanted, wanted_scaled, wanted_steps = torch.empty(3, 640), torch.empty(3, 640), torch.empty(3)
    call(kernels.add_products, hidden, products.clone(), steps, bias, weight, EPSILON, wanted)
    call(kernels.normalise_and_scale, wanted, next_weight, EPSILON, 128, LIMIT, wanted_scaled, wanted_steps)
    result, scaled, new_steps = torch.empty(3, 640), torch.empty(3, 640), torch.empty(3)
    call(
        kernels.add_normalise_and_scale,
        *(hidden, products, steps, bias, weight, EPSILON, next_weight, 128, LIMIT, result, scaled, new_steps),
    )
    assert torch.equal(result, wanted)
    assert torch.equal(scaled, wanted_scaled)
    assert torch.equal(new_steps, wanted_steps)


@pytest.mark.parametrize("is_gelu", [True, False])
@pytest.mark.parametrize("has_bias", [True, False])
def test_the_gate_is_gelu_in_its_tanh_form_or_silu_also_for_very_large_numbers(is_gelu, has_bias):
    products, steps = random(3, 512) * 4, torch.tensor([1.0, 0.5, 40.0])
    bias = random(512 if has_bias else 0, seed=2)
    scaled, new_steps, wanted, wanted_steps = torch.empty(3, 256), torch.empty(3), torch.empty(3, 256), torch.empty(3)
    first, second = (products * steps.unsqueeze(1) + (bias if has_bias else 0)).chunk(2, dim=1)
    gated = gelu(first, approximate="tanh") if is_gelu else silu(first)
    call(kernels.scale_rows, gated * second, 128, LIMIT, wanted, wanted_steps)
    call(kernels.gate_and_scale, products, steps, bias, is_gelu, 128, LIMIT, scaled, new_steps)
    assert torch.allclose(scaled, wanted, atol=1e-3)
    assert torch.allclose(new_steps, wanted_steps, rtol=1e-5)


@pytest.mark.parametrize("is_gelu", [True, False])
def test_a_gate_that_is_no_number_stays_in_its_row(is_gelu):
    products, steps = random(4, 512), torch.ones(4)
    products[0, 3], products[1, 100], products[2, 300] = float("nan"), float("inf"), float("nan")
    scaled, new_steps = torch.empty(4, 256), torch.empty(4)
    call(kernels.gate_and_scale, products, steps, torch.empty(0), is_gelu, 128, LIMIT, scaled, new_steps)
    assert new_steps.isfinite().tolist() == [False, False, False, True]
    assert scaled[3].isfinite().all()


def test_the_exponential_is_close_and_ends_at_its_farthest():
    powers = np.linspace(-24, 24, 4801, dtype=np.float32)
    seen = np.array([kernels.exponential(power) for power in powers])
    assert np.allclose(seen, np.exp(powers.astype(np.float64)), rtol=3e-5, atol=0)
    near = np.abs(powers) < 12
    assert np.allclose(seen[near], np.exp(powers[near].astype(np.float64)), rtol=1e-5, atol=0)
    assert kernels.exponential(np.float32(-1e30)) == kernels.exponential(np.float32(-24)) < 1e-10
    assert np.isnan(kernels.exponential(np.float32("nan")))


@pytest.mark.parametrize("has_bias", [True, False])
@pytest.mark.parametrize("has_norms", [True, False])
def test_heads_are_normalised_and_turned_as_the_library_does(has_norms, has_bias):
    tokens, size = 5, 16
    products, steps = random(tokens, (4 + 2 + 2) * size), random(tokens, seed=1).abs()
    query_weight, key_weight = (random(size if has_norms else 0, seed=seed) for seed in (2, 3))
    bias = random(8 * size if has_bias else 0, seed=5)
    angles = random(tokens, size // 2, seed=4).repeat(1, 2)
    queries, keys, values = torch.empty(tokens, 4, size), torch.empty(tokens, 2, size), torch.empty(tokens, 2, size)
    rows = products * steps.unsqueeze(1) + (bias if has_bias else 0)
    rows = rows.view(1, tokens, -1, size).transpose(1, 2)
    wanted_queries, wanted_keys = apply_rotary_pos_emb(
        rms_norm(rows[:, :4], (size,), query_weight, EPSILON) if has_norms else rows[:, :4],
        rms_norm(rows[:, 4:6], (size,), key_weight, EPSILON) if has_norms else rows[:, 4:6],
        angles.cos().unsqueeze(0),
        angles.sin().unsqueeze(0),
    )
    call(
        kernels.split_heads,
        *(products, steps, bias, query_weight, key_weight, EPSILON, angles.cos(), angles.sin(), queries, keys, values),
    )
    assert torch.allclose(queries, wanted_queries[0].transpose(0, 1), atol=1e-5)
    assert torch.allclose(keys, wanted_keys[0].transpose(0, 1), atol=1e-5)
    assert torch.allclose(values, rows[0, 6:].transpose(0, 1), atol=1e-5)


@pytest.mark.parametrize("lengths", [[1], [7], [3, 40, 1], [300, 2]])
def test_requests_attend_to_their_own_slots_alone(lengths):
    """Two key heads, each read by two query heads; slots in no order; rows between that are others' prompts."""
    size, group = 16, 2
    rows = [2 * number + 1 for number in range(len(lengths))]
    tokens = rows[-1] + 2
    queries, new_keys, new_values = random(tokens, 4, size), random(tokens, 2, size), random(tokens, 2, size, seed=1)
    keys, values = random(512, 2, size, seed=2), random(512, 2, size, seed=3)
    order = torch.randperm(512, generator=torch.Generator().manual_seed(4))
    slots, bounds = order[: sum(lengths)].contiguous(), np.cumsum([0, *lengths])
    before, result = keys.clone(), torch.full_like(queries, 7.0)
    call(
        kernels.decode,
        *(queries, new_keys, new_values, keys, values, np.array(rows), bounds, slots, 0.25, result),
    )
    for row, first, last in zip(rows, bounds[:-1], bounds[1:], strict=True):
        own = slots[first:last]
        assert torch.equal(keys[own[-1]], new_keys[row])
        assert torch.equal(values[own[-1]], new_values[row])
        wanted = scaled_dot_product_attention(
            queries[row].unsqueeze(1),
            keys[own].transpose(0, 1).repeat_interleave(group, 0),
            values[own].transpose(0, 1).repeat_interleave(group, 0),
            scale=0.25,
        )
        assert torch.allclose(result[row], wanted[:, 0], atol=1e-5)
    others = [row for row in range(tokens) if row not in rows]
    assert result[others].eq(7.0).all()
    written = set(slots[bounds[1:] - 1].tolist())
    untouched = [slot for slot in range(512) if slot not in written]
    assert torch.equal(keys[untouched], before[untouched])


def test_a_row_computes_the_same_bits_in_any_company():
    rows, weight = random(32, 640), random(640, seed=1)
    together, together_steps = torch.empty(32, 640), torch.empty(32)
    call(kernels.normalise_and_scale, rows, weight, EPSILON, 128, LIMIT, together, together_steps)
    for row in (0, 13, 31):
        alone, alone_step = torch.empty(1, 640), torch.empty(1)
        call(kernels.normalise_and_scale, rows[row : row + 1], weight, EPSILON, 128, LIMIT, alone, alone_step)
        assert torch.equal(alone[0], together[row])
        assert alone_step[0] == together_steps[row]
