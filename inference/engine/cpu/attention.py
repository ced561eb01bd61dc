"""Attention over the paged cache on a CPU, one request at a time.

transformers' own CPU path packs the whole batch into one sequence with a block-diagonal mask: 32 requests of 100 tokens
each cost 32 times the arithmetic that they need, and every layer copies all their keys into one array again. Here each
request attends only to its own keys. All requests that add one token are computed in one call, which reads their keys
directly in the cache. A request's results do not depend on the other requests in its batch.
"""

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

from inference.engine.cpu import kernels
from inference.engine.cpu.kernels import Array

CPU_ATTENTION = "tally_cpu_paged"


@dataclass(slots=True)
class Reach:
    """One request's share of a step: its rows `start` to `end` of the packed queries, the `slots` of its cached keys,
    and the `mask` that says which keys each of its tokens sees."""

    start: int
    end: int
    slots: torch.Tensor
    mask: torch.Tensor


@dataclass(slots=True)
class Plan:
    """The shares of all requests of a step, the same for all layers with one kind of attention.

    The requests that `kernels.decode` computes add one token each. They are together in its arguments `rows`, `bounds`
    and `slots`; each other request is in `prompts`. `made_for` identifies the step: it is the step's `read_index` list.
    """

    made_for: Any = None
    prompts: list[Reach] = field(default_factory=list)
    rows: Array = field(default_factory=lambda: np.empty(0, np.int64))
    bounds: Array = field(default_factory=lambda: np.zeros(1, np.int64))
    slots: Array = field(default_factory=lambda: np.empty(0, np.int64))


_plans: WeakKeyDictionary[Any, Plan] = WeakKeyDictionary()  # the latest plan for each allocator of the cache


def attend(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    _attention_mask: torch.Tensor | None,
    *,
    scaling: float,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Attention for the layers of transformers: takes [1, heads, tokens, size], returns [1, tokens, heads, size]."""
    queries, keys, values = (part[0].transpose(0, 1).contiguous() for part in (query, key, value))
    return attend_rows(module, queries, keys, values, scaling, **kwargs).unsqueeze(0), None


AttentionInterface.register(CPU_ATTENTION, attend)


def attend_rows(
    module: Any,
    queries: torch.Tensor,
    new_keys: torch.Tensor,
    new_values: torch.Tensor,
    scaling: float,
    *,
    cache: Any,
    read_index: list[torch.Tensor],
    write_index: list[torch.Tensor],
    cu_seq_lens_q: torch.Tensor,
    cu_seq_lens_k: dict[str, torch.Tensor],
    **_kwargs: Any,
) -> torch.Tensor:
    """Attention of all tokens of a step; stores the new keys and values. Contiguous arrays [tokens, heads, size]."""
    allocator = cache.layer_to_allocator[module.layer_idx]
    write = write_index[allocator.index]
    plan = _plans.get(allocator)
    if plan is None or plan.made_for is not read_index:  # each step has a new list
        known = cu_seq_lens_k[allocator.layer_type]
        window = getattr(allocator, "sliding_window", None)  # Mistral's layers do not have it
        plan = _make_plan(read_index[allocator.index], write, cu_seq_lens_q, known, window, queries.dtype)
        plan.made_for = read_index
        _plans[allocator] = plan
    keys, values = allocator._kv_token_views[module.layer_idx]  # noqa: SLF001  the library has no public view
    result = torch.empty_like(queries)
    if plan.prompts:
        for reach in plan.prompts:  # read before storing, which in a sliding window overwrites keys needed here
            rows = slice(reach.start, reach.end)
            own_keys, own_values = new_keys[rows], new_values[rows]
            if len(reach.slots):
                own_keys = torch.cat((keys[reach.slots], own_keys))
                own_values = torch.cat((values[reach.slots], own_values))
            result[rows] = _read_prompt(queries[rows], own_keys, own_values, scaling, reach.mask)
        keys.index_copy_(0, write, new_keys)
        values.index_copy_(0, write, new_values)
    if len(plan.rows):
        kernels.decode(
            queries.numpy(),
            new_keys.numpy(),
            new_values.numpy(),
            keys.numpy(),
            values.numpy(),
            plan.rows,
            plan.bounds,
            plan.slots,
            scaling,
            result.numpy(),
        )
    return result


def _make_plan(
    read: torch.Tensor,
    write: torch.Tensor,
    cu_seq_lens_q: torch.Tensor,
    cu_seq_lens_k: torch.Tensor,
    window: int | None,
    dtype: torch.dtype,
) -> Plan:
    """Make the plan of a step. `read` has each request's slots of cached keys in turn; empty if there are none."""
    plan, slots, rows, bounds = Plan(), [], [], [0]
    queries = cu_seq_lens_q.tolist()
    known = cu_seq_lens_k.tolist() if read.numel() else queries
    for (start, end), (first, last) in zip(pairwise(queries), pairwise(known), strict=True):
        past = read[first : max(first, last - (end - start))]
        if end - start == 1 and len(past) and dtype == torch.float32:  # the case that the kernel computes
            rows.append(start)
            bounds.append(bounds[-1] + len(past) + 1)
            slots += [past, write[start:end]]
        else:
            plan.prompts.append(Reach(start, end, past, _mask(end - start, len(past), window)))
    if rows:
        plan.rows, plan.bounds, plan.slots = np.array(rows), np.array(bounds), torch.cat(slots).numpy()
    return plan


def _mask(new: int, past: int, window: int | None) -> torch.Tensor:
    """The mask [new, past + new]: each new token sees itself and all earlier tokens, or the last `window` of these."""
    position = torch.arange(past, past + new).unsqueeze(1)
    other = torch.arange(past + new).unsqueeze(0)
    mask = other <= position
    return mask if window is None else mask & (other > position - window)


def _read_prompt(
    query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, scaling: float, mask: torch.Tensor
) -> torch.Tensor:
    """Attention of a prompt's tokens to the keys that the mask lets them see."""
    groups = query.size(1) // keys.size(1)
    found = scaled_dot_product_attention(
        query.transpose(0, 1).unsqueeze(0),
        keys.transpose(0, 1).unsqueeze(0).repeat_interleave(groups, 1),
        values.transpose(0, 1).unsqueeze(0).repeat_interleave(groups, 1),
        attn_mask=mask,
        scale=scaling,
    )
    return found[0].transpose(0, 1)
