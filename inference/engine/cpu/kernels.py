"""The operations between the matrices of a decoder layer on a CPU, compiled by numba: one call where torch needs ten.

A decode step of a small model reads all its weights once, which evicts everything else from the processor's caches.
After that, every small operation of torch costs more to start than to compute. Each function here goes through a
layer's rows once.

All arrays are C-contiguous float32, [tokens, columns] or [tokens, heads, size], unless a docstring says otherwise.
Functions write into their last arrays. If an architecture does not have a weight or a bias, the array is empty. Every
row is computed by the same instructions, so a token's results do not depend on its batch. Infinity and NaN stay in
their row.
"""

from functools import partial
from typing import Any, Final, TypeAlias

import numpy as np
from numba import njit

Array: TypeAlias = np.ndarray[Any, Any]

FARTHEST: Final = np.float32(24)  # e to this is 3e10, so large that adding 1 does not change it in float32
SMALLEST: Final = np.float32(1e-12)  # keeps a row of zeros from dividing by zero
MINUS_TWO_Z: Final = np.float32(-2 * (2 / np.pi) ** 0.5)  # of GELU's tanh form (Hendrycks and Gimpel, 2016)
CUBIC: Final = np.float32(0.044715)

# LLVM's flags let the compiler reorder sums, which vector instructions need, but not assume that there is no NaN.
# Division by zero gives infinity, as in C: Python's check for it would prevent vector instructions in a loop.
compiled = partial(njit, fastmath={"reassoc", "contract", "arcp", "nsz"}, error_model="numpy", nogil=True, cache=True)
of_a_row = compiled()  # loops must use an index: numba makes vector instructions only of these

ROW, ROWS, HEADS, PLACES = "float32[::1]", "float32[:, ::1]", "float32[:, :, ::1]", "int64[::1]"


@of_a_row
def mix(row: Array, group: int) -> None:
    """Multiply each `group` of columns by a Hadamard matrix, which spreads a large number over the whole group.

    `group` is a power of two that divides the row's length. The matrix is not normalised: it multiplies the norm of the
    row by the root of `group`.
    """
    if group == 128:  # nearly every model; constants make it three times faster
        mix_four(row, 1)
        mix_four(row, 4)
        mix_four(row, 16)
        mix_two(row, 64)
        return
    half = 1
    while half < group:
        mix_two(row, half)
        half *= 2


@of_a_row
def mix_two(row: Array, half: int) -> None:
    """Replace each column and the one `half` further by their sum and their difference."""
    for first in range(0, len(row), 2 * half):
        for one in range(first, first + half):
            a, b = row[one], row[one + half]
            row[one], row[one + half] = a + b, a - b


@of_a_row
def mix_four(row: Array, half: int) -> None:
    """`mix_two` with `half` and then with twice that, in one pass over the row."""
    for first in range(0, len(row), 4 * half):
        for one in range(first, first + half):
            a, b, c, d = row[one], row[one + half], row[one + 2 * half], row[one + 3 * half]
            row[one], row[one + half] = a + b + (c + d), a - b + (c - d)
            row[one + 2 * half], row[one + 3 * half] = a + b - (c + d), a - b - (c - d)


@of_a_row
def largest_of(row: Array) -> np.float32:
    """The largest absolute value in a row of finite numbers."""
    largest = np.float32(0)
    for column in range(len(row)):
        largest = max(largest, abs(row[column]))
    return largest


@of_a_row
def exponential(power: np.float32) -> np.float32:
    """e to the power, which is first limited to -24 to 24. The relative error is at most 30e-6; 10e-6 from -12 to 12.

    It computes the series of a 64th of the power and squares it six times. Unlike the library's function, this can be
    compiled to vector instructions.
    """
    part = min(max(power, -FARTHEST), FARTHEST) / np.float32(64)
    result = np.float32(1) + part / np.float32(6)
    result = np.float32(1) + part / np.float32(5) * result
    result = np.float32(1) + part / np.float32(4) * result
    result = np.float32(1) + part / np.float32(3) * result
    result = np.float32(1) + part / np.float32(2) * result
    result = np.float32(1) + part * result
    result *= result
    result *= result
    result *= result
    result *= result
    result *= result
    result *= result
    return result


@of_a_row
def mean_square(row: Array) -> np.float32:
    """The mean of the squares; not finite if a number of the row is not finite."""
    total = np.float32(0)
    for column in range(len(row)):
        total += row[column] * row[column]
    return total / np.float32(len(row))


@of_a_row
def normalise(row: Array, weight: Array, epsilon: np.float32, result: Array) -> None:
    """RMSNorm. `weight` is the factor itself, which may differ from the weight in the checkpoint."""
    factor = np.float32(1) / np.sqrt(mean_square(row) + epsilon)
    for column in range(len(row)):
        result[column] = row[column] * factor * weight[column]


@of_a_row
def scale(row: Array, group: int, limit: np.float32) -> np.float32:
    """Mix a row and scale it so that its largest absolute value is `limit`. Returns the factor that undoes this.

    The factor also undoes the growth by `mix`. It is NaN if the row has a number that is not finite.
    """
    mix(row, group)
    step = largest_of(row) / limit + SMALLEST
    if not np.isfinite(mean_square(row)):
        step = np.float32(np.nan)
    factor = np.float32(1) / step
    for column in range(len(row)):
        row[column] *= factor
    return np.float32(step / np.float32(np.sqrt(group)))


@compiled(f"({ROWS}, int64, float32, {ROWS}, {ROW})")
def scale_rows(rows: Array, group: int, limit: np.float32, scaled: Array, steps: Array) -> None:
    """Mix and scale rows for a product in 8 bits. `steps` gets the factor of each row of the product."""
    for token in range(len(rows)):
        scaled[token] = rows[token]
        steps[token] = scale(scaled[token], group, limit)


@compiled(f"({ROWS}, {ROW}, float32, int64, float32, {ROWS}, {ROW})")
def normalise_and_scale(
    rows: Array,
    weight: Array,
    epsilon: np.float32,
    group: int,
    limit: np.float32,
    scaled: Array,
    steps: Array,
) -> None:
    """RMSNorm of the rows, then `scale_rows`."""
    for token in range(len(rows)):
        normalise(rows[token], weight, epsilon, scaled[token])
        steps[token] = scale(scaled[token], group, limit)


@of_a_row
def gelu_gate(gates: Array, values: Array, step: np.float32, result: Array) -> None:
    """GELU of the gates, times the values. Gates and values are first multiplied by `step`.

    GELU is in its tanh form, x * (1 + tanh(z)) / 2, which is x / (1 + exp(-2z)).
    """
    for column in range(len(result)):
        x = gates[column] * step
        minus_2z = MINUS_TWO_Z * (x + CUBIC * x * x * x)
        result[column] = x / (np.float32(1) + exponential(minus_2z)) * (values[column] * step)


@of_a_row
def silu_gate(gates: Array, values: Array, step: np.float32, result: Array) -> None:
    """SiLU of the gates, x / (1 + exp(-x)), times the values. Gates and values are first multiplied by `step`."""
    for column in range(len(result)):
        x = gates[column] * step
        result[column] = x / (np.float32(1) + exponential(-x)) * (values[column] * step)


@of_a_row
def finish(products: Array, step: np.float32, bias: Array) -> None:
    """Finish a row of a product in 8 bits, in place: multiply it by its factor, and add the bias if there is one."""
    for column in range(len(products)):
        products[column] *= step
    for column in range(len(bias)):
        products[column] += bias[column]


@compiled(f"({ROWS}, {ROW}, {ROW})")
def finish_rows(products: Array, steps: Array, bias: Array) -> None:
    """`finish` all rows of a product, in place."""
    for token in range(len(products)):
        finish(products[token], steps[token], bias)


@compiled(f"({ROWS}, {ROW}, {ROW}, boolean, int64, float32, {ROWS}, {ROW})")
def gate_and_scale(
    products: Array,
    product_steps: Array,
    bias: Array,
    is_gelu: bool,
    group: int,
    limit: np.float32,
    scaled: Array,
    steps: Array,
) -> None:
    """Compute the gate, then `scale_rows` it. The gate is GELU or SiLU of the products' first half times the second.

    The products are first multiplied by `product_steps`, and the bias is added.
    """
    half = scaled.shape[1]
    for token in range(len(scaled)):
        step = product_steps[token]
        if len(bias):
            finish(products[token], step, bias)
            step = np.float32(1)
        if is_gelu:
            gelu_gate(products[token, :half], products[token, half:], step, scaled[token])
        else:
            silu_gate(products[token, :half], products[token, half:], step, scaled[token])
        steps[token] = scale(scaled[token], group, limit)


@of_a_row
def add_product(
    hidden: Array,
    products: Array,
    step: np.float32,
    bias: Array,
    weight: Array,
    epsilon: np.float32,
    result: Array,
) -> None:
    """`hidden` plus the product; if there is a `weight`, plus the RMSNorm of the product."""
    finish(products, step, bias)
    if len(weight):
        factor = np.float32(1) / np.sqrt(mean_square(products) + epsilon)
        for column in range(len(result)):
            result[column] = hidden[column] + products[column] * factor * weight[column]
    else:
        for column in range(len(result)):
            result[column] = hidden[column] + products[column]


@compiled(f"({ROWS}, {ROWS}, {ROW}, {ROW}, {ROW}, float32, {ROWS})")
def add_products(
    hidden: Array,
    products: Array,
    product_steps: Array,
    bias: Array,
    weight: Array,
    epsilon: np.float32,
    result: Array,
) -> None:
    """`add_product` for all rows; `result` may be `hidden`."""
    for token in range(len(hidden)):
        add_product(hidden[token], products[token], product_steps[token], bias, weight, epsilon, result[token])


@compiled(
    f"({ROWS}, {ROWS}, {ROW}, {ROW}, {ROW}, float32, {ROW}, int64, float32, {ROWS}, {ROWS}, {ROW})",
)
def add_normalise_and_scale(
    hidden: Array,
    products: Array,
    product_steps: Array,
    bias: Array,
    weight: Array,
    epsilon: np.float32,
    next_weight: Array,
    group: int,
    limit: np.float32,
    result: Array,
    scaled: Array,
    steps: Array,
) -> None:
    """`add_products`, then `normalise_and_scale` of its result with the next norm, in one pass over the rows."""
    for token in range(len(hidden)):
        add_product(hidden[token], products[token], product_steps[token], bias, weight, epsilon, result[token])
        normalise(result[token], next_weight, epsilon, scaled[token])
        steps[token] = scale(scaled[token], group, limit)


@of_a_row
def turn(row: Array, cosines: Array, sines: Array) -> None:
    """Rotary position embedding, in place: rotates each column of the first half with one of the second half."""
    half = len(row) // 2
    for column in range(half):
        one, other = row[column], row[column + half]
        row[column] = one * cosines[column] - other * sines[column]
        row[column + half] = other * cosines[column + half] + one * sines[column + half]


@compiled(
    f"({ROWS}, {ROW}, {ROW}, {ROW}, {ROW}, float32, {ROWS}, {ROWS}, {HEADS}, {HEADS}, {HEADS})",
)
def split_heads(
    products: Array,
    steps: Array,
    bias: Array,
    query_weight: Array,
    key_weight: Array,
    epsilon: np.float32,
    cosines: Array,
    sines: Array,
    queries: Array,
    keys: Array,
    values: Array,
) -> None:
    """Split each row of products into the heads of queries, keys and values.

    Queries and keys are normalised if there are weights, and get their rotary position embedding. They have a loop
    each, without a shared function: its 160 calls in a step of 32 requests would take a third of the time.
    """
    size = queries.shape[2]
    for token in range(len(products)):
        row, first = products[token], 0
        finish(row, steps[token], bias)
        for number in range(queries.shape[1]):
            part, result = row[first : first + size], queries[token, number]
            if len(query_weight):
                normalise(part, query_weight, epsilon, result)
            else:
                result[:] = part
            turn(result, cosines[token], sines[token])
            first += size
        for number in range(keys.shape[1]):
            part, result = row[first : first + size], keys[token, number]
            if len(key_weight):
                normalise(part, key_weight, epsilon, result)
            else:
                result[:] = part
            turn(result, cosines[token], sines[token])
            first += size
        for number in range(values.shape[1]):
            values[token, number] = row[first : first + size]
            first += size


@of_a_row
def softmax(row: Array) -> None:
    """Softmax of a row, in place."""
    largest = row.max()
    total = np.float32(0)
    for column in range(len(row)):
        row[column] = exponential(row[column] - largest)
        total += row[column]
    for column in range(len(row)):
        row[column] /= total


@compiled(
    f"({HEADS}, {HEADS}, {HEADS}, {HEADS}, {HEADS}, {PLACES}, {PLACES}, {PLACES}, float32, {HEADS})",
)
def decode(
    queries: Array,
    new_keys: Array,
    new_values: Array,
    keys: Array,
    values: Array,
    rows: Array,
    bounds: Array,
    slots: Array,
    scaling: np.float32,
    result: Array,
) -> None:
    """Attention of requests that add one token each to a cache [slots, heads, size] of keys and values.

    Request n has row `rows[n]` of the first three arrays and of the result. Its keys are in the slots
    `slots[bounds[n]:bounds[n + 1]]`; the last of these is free and gets the new key. Query heads that share a key head
    are computed together.
    """
    size, group = queries.shape[2], queries.shape[1] // keys.shape[1]
    shares = np.empty((group, len(slots)), np.float32)
    for request in range(len(rows)):
        row, first, last = rows[request], bounds[request], bounds[request + 1]
        for head in range(keys.shape[1]):
            keys[slots[last - 1], head] = new_keys[row, head]
            values[slots[last - 1], head] = new_values[row, head]
            for position in range(first, last):
                slot = slots[position]
                for member in range(group):
                    score = np.float32(0)
                    for column in range(size):
                        score += queries[row, head * group + member, column] * keys[slot, head, column]
                    shares[member, position] = score * scaling
            for member in range(group):
                softmax(shares[member, first:last])
                result[row, head * group + member] = 0
            for position in range(first, last):
                slot = slots[position]
                for member in range(group):
                    share = shares[member, position]
                    for column in range(size):
                        result[row, head * group + member, column] += share * values[slot, head, column]
