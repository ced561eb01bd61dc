"""What lies between the matrices of a decoder layer on a CPU, compiled by numba: one call where torch needs ten.

A decode step of a small model reads its weights once, which leaves the processor's caches empty; after that every
small operation of torch costs more to start than to compute. Each function here goes through a layer's rows once.
All arrays are C-contiguous float32, [tokens, columns] or [tokens, heads, size], unless it says otherwise; functions
write into the arrays named last. A weight or a bias that an architecture does not have is an empty array. A row is
computed by the same instructions whoever else is there, so a token's numbers do not depend on its batch. Numbers that
are not finite stay what they are, in their row.
"""

from functools import partial
from typing import Any, Final, TypeAlias

import numpy as np
from numba import njit

Array: TypeAlias = np.ndarray[Any, Any]

FARTHEST: Final = np.float32(24)  # e to this is 3e10, more than a float32 adds to one
SMALLEST: Final = np.float32(1e-12)  # keeps a row of zeros from dividing by zero
MINUS_TWO_Z: Final = np.float32(-2 * (2 / np.pi) ** 0.5)  # of GELU's tanh form (Hendrycks and Gimpel, 2016)
CUBIC: Final = np.float32(0.044715)

# Sums may be taken in any order, as vectors need it; but NaN is not assumed away (LLVM's flags). Division by zero gives
# infinity, as in C: Python's check for it keeps a loop from becoming vectors.
compiled = partial(njit, fastmath={"reassoc", "contract", "arcp", "nsz"}, error_model="numpy", nogil=True, cache=True)
of_a_row = compiled()  # loops go by index: numba makes vectors of no others

ROW, ROWS, HEADS, PLACES = "float32[::1]", "float32[:, ::1]", "float32[:, :, ::1]", "int64[::1]"


@of_a_row
def mix(row: Array, group: int) -> None:
    """Multiply each `group` of columns by a Hadamard matrix, which spreads one large number over all of them.

    The matrix is not normalised: lengths grow by the root of `group`, a power of two that divides the row.
    """
    if group == 128:  # nearly every model; known numbers make it three times faster
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
    """A column and the one `half` further become their sum and their difference."""
    for first in range(0, len(row), 2 * half):
        for one in range(first, first + half):
            a, b = row[one], row[one + half]
            row[one], row[one + half] = a + b, a - b


@of_a_row
def mix_four(row: Array, half: int) -> None:
    """`mix_two` of `half` and then of twice that, while the numbers are at hand."""
    for first in range(0, len(row), 4 * half):
        for one in range(first, first + half):
            a, b, c, d = row[one], row[one + half], row[one + 2 * half], row[one + 3 * half]
            row[one], row[one + half] = a + b + (c + d), a - b + (c - d)
            row[one + 2 * half], row[one + 3 * half] = a + b - (c + d), a - b - (c - d)


@of_a_row
def largest_of(row: Array) -> np.float32:
    """The largest absolute value of finite numbers."""
    largest = np.float32(0)
    for column in range(len(row)):
        largest = max(largest, abs(row[column]))
    return largest


@of_a_row
def exponential(power: np.float32) -> np.float32:
    """e to the power, at most 30 millionths of it off, 10 between -12 and 12; powers beyond -24 and 24 count as those.

    The series of a 64th of the power, squared six times: loops with it become vectors, with the library's they do not.
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
    """Not finite if a number of the row is not."""
    total = np.float32(0)
    for column in range(len(row)):
        total += row[column] * row[column]
    return total / np.float32(len(row))


@of_a_row
def normalise(row: Array, weight: Array, epsilon: np.float32, result: Array) -> None:
    """RMSNorm; `weight` is what to multiply with, whatever the checkpoint stores."""
    factor = np.float32(1) / np.sqrt(mean_square(row) + epsilon)
    for column in range(len(row)):
        result[column] = row[column] * factor * weight[column]


@of_a_row
def scale(row: Array, group: int, limit: np.float32) -> np.float32:
    """Mix a row and stretch it so that its largest number is `limit`; return the factor that undoes both lengths."""
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
    """Mixed and stretched rows for a product in 8 bits, and what to multiply its result with."""
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
    """`scale_rows` of the norm of the rows."""
    for token in range(len(rows)):
        normalise(rows[token], weight, epsilon, scaled[token])
        steps[token] = scale(scaled[token], group, limit)


@of_a_row
def gelu_gate(gates: Array, values: Array, step: np.float32, result: Array) -> None:
    """GELU of the gates times the values, all of them times `step` first.

    GELU in its tanh form, x * (1 + tanh(z)) / 2, which is x / (1 + exp(-2z)).
    """
    for column in range(len(result)):
        x = gates[column] * step
        minus_2z = MINUS_TWO_Z * (x + CUBIC * x * x * x)
        result[column] = x / (np.float32(1) + exponential(minus_2z)) * (values[column] * step)


@of_a_row
def silu_gate(gates: Array, values: Array, step: np.float32, result: Array) -> None:
    """SiLU of the gates, x / (1 + exp(-x)), times the values, all of them times `step` first."""
    for column in range(len(result)):
        x = gates[column] * step
        result[column] = x / (np.float32(1) + exponential(-x)) * (values[column] * step)


@of_a_row
def finish(products: Array, step: np.float32, bias: Array) -> None:
    """What a product in 8 bits still lacks: its factor, and the bias if there is one."""
    for column in range(len(products)):
        products[column] *= step
    for column in range(len(bias)):
        products[column] += bias[column]


@compiled(f"({ROWS}, {ROW}, {ROW})")
def finish_rows(products: Array, steps: Array, bias: Array) -> None:
    """Products times their steps, plus the bias if there is one, in place."""
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
    """`scale_rows` of the gate: of products times their steps, GELU or SiLU of the first half times the second."""
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
    """`hidden` plus the product, or plus its norm where `weight` is one."""
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
    """`hidden` plus `products` times their steps, or plus the norm of that where `weight` is one; `result` may be
    `hidden`."""
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
    """`add_products`, and of its result `normalise_and_scale` with the next norm, while a row is at hand."""
    for token in range(len(hidden)):
        add_product(hidden[token], products[token], product_steps[token], bias, weight, epsilon, result[token])
        normalise(result[token], next_weight, epsilon, scaled[token])
        steps[token] = scale(scaled[token], group, limit)


@of_a_row
def turn(row: Array, cosines: Array, sines: Array) -> None:
    """Rotary position embedding, in place: columns of the first half turn with those of the second."""
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
    """Queries and keys, normalised where there are weights and turned, and values: a row holds the heads of all three.

    One loop for queries and one for keys: a function for both is called 160 times in a step of 32, a third of the time.
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
    """In place."""
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

    Request n is row `rows[n]` of the first three and of the result. `slots[bounds[n]:bounds[n + 1]]` is where its keys
    lie; the last of them is free and gets the new one. Query heads that share a key head read it together.
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
