"""Attention over the paged cache on a CPU, one request at a time.

transformers' own CPU path packs the whole batch into one sequence under a block-diagonal mask: 32 requests of 100
tokens each cost 32 times the arithmetic they need, and their keys are gathered anew in every layer. Here each request
attends to its own keys alone. While these lie side by side in the cache, which `page_size` sees to, a decode step
reads them where they are. A request's numbers do not depend on who shares its batch.
"""

from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

CPU_ATTENTION = "tally_cpu_paged"


@dataclass(slots=True)
class Reach:
    """One request's share of a step: which rows of the packed queries are its, and where its cached keys lie.

    `slots` are rows of the cache, as a slice where they are side by side. When decoding they include the new token's.
    """

    start: int
    end: int
    slots: slice | torch.Tensor | None

    @property
    def is_decode(self) -> bool:
        """Whether it adds one token to a cache that holds the others."""
        return self.end - self.start == 1 and self.slots is not None


@dataclass(slots=True)
class Plan:
    """The shares of all requests of a step, the same for every layer of a kind. `made_for` tells the step."""

    made_for: Any = None
    reaches: list[Reach] = field(default_factory=list)


_plans: WeakKeyDictionary[Any, Plan] = WeakKeyDictionary()  # by the part of the cache they are about


def attend(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    _attention_mask: torch.Tensor | None,
    *,
    scaling: float,
    cache: Any,
    read_index: list[torch.Tensor],
    write_index: list[torch.Tensor],
    cu_seq_lens_q: torch.Tensor,
    cu_seq_lens_k: dict[str, torch.Tensor],
    **_kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """What the model calls in each layer; [1, heads, tokens, size] in, [1, tokens, heads, size] out."""
    allocator = cache.layer_to_allocator[module.layer_idx]
    plan = _plan_for(allocator, read_index, write_index, cu_seq_lens_q, cu_seq_lens_k)
    keys, values = allocator._kv_token_views[module.layer_idx]  # noqa: SLF001  the library has no public view
    new_keys, new_values = key[0].transpose(0, 1), value[0].transpose(0, 1)  # [tokens, heads, size]
    result = torch.empty(1, query.size(2), query.size(1), query.size(3), dtype=query.dtype)
    for reach in plan.reaches:  # prompts first: a window that moves on overwrites what they still read
        if not reach.is_decode:
            rows = slice(reach.start, reach.end)
            own_keys, own_values = new_keys[rows], new_values[rows]
            if reach.slots is not None:
                own_keys = torch.cat((keys[reach.slots], own_keys))
                own_values = torch.cat((values[reach.slots], own_values))
            result[:, rows] = _read_prompt(query[:, :, rows], own_keys, own_values, scaling, module.sliding_window)
    keys.index_copy_(0, write_index[allocator.index], new_keys)
    values.index_copy_(0, write_index[allocator.index], new_values)
    for reach in plan.reaches:
        if reach.is_decode:
            rows = slice(reach.start, reach.end)
            result[:, rows] = _decode(query[:, :, rows], keys[reach.slots], values[reach.slots], scaling)
    return result, None


AttentionInterface.register(CPU_ATTENTION, attend)


def _plan_for(
    allocator: Any,
    read_index: list[torch.Tensor],
    write_index: list[torch.Tensor],
    cu_seq_lens_q: torch.Tensor,
    cu_seq_lens_k: dict[str, torch.Tensor],
) -> Plan:
    """The plan of this step, made when its first layer of a kind asks. The list of indices is new in every step."""
    plan = _plans.setdefault(allocator, Plan())
    if plan.made_for is not read_index:
        read = read_index[allocator.index]
        write = write_index[allocator.index].tolist()
        queries = cu_seq_lens_q.tolist()
        cached = cu_seq_lens_k[allocator.layer_type].tolist() if read.numel() else queries
        plan.reaches = [_reach(read, write, queries[n : n + 2], cached[n : n + 2]) for n in range(len(queries) - 1)]
        plan.made_for = read_index
    return plan


def _reach(read: torch.Tensor, write: list[int], rows: list[int], cached: list[int]) -> Reach:
    (start, end), (first, last) = rows, cached
    past = last - first - (end - start)
    if past <= 0:
        return Reach(start, end, None)
    slots = read[first : first + past]
    if end - start == 1:
        slots = torch.cat((slots, torch.tensor([write[start]])))
    return Reach(start, end, _side_by_side(slots))


def _side_by_side(slots: torch.Tensor) -> slice | torch.Tensor:
    """A slice over the same slots if there is one; the order of keys does not matter to attention."""
    first, last = (int(edge) for edge in slots.aminmax())
    return slice(first, last + 1) if last - first + 1 == len(slots) else slots


def _decode(query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, scaling: float) -> torch.Tensor:
    """One new token against all its keys. Query heads that share a key head are taken together."""
    heads, size = keys.size(1), keys.size(2)
    grouped = query.view(1, heads, -1, size)
    found = scaled_dot_product_attention(
        grouped, keys.transpose(0, 1).unsqueeze(0), values.transpose(0, 1).unsqueeze(0), scale=scaling
    )
    return found.reshape(1, 1, -1, size)


def _read_prompt(
    query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, scaling: float, window: int | None
) -> torch.Tensor:
    """Tokens of a prompt against those before them, within the window where the layer has one."""
    new, known = query.size(2), len(keys)
    position = torch.arange(known - new, known).unsqueeze(1)
    other = torch.arange(known).unsqueeze(0)
    mask = other <= position
    if window is not None:
        mask &= other > position - window
    groups = query.size(1) // keys.size(1)
    found = scaled_dot_product_attention(
        query,
        keys.transpose(0, 1).unsqueeze(0).repeat_interleave(groups, 1),
        values.transpose(0, 1).unsqueeze(0).repeat_interleave(groups, 1),
        attn_mask=mask,
        scale=scaling,
    )
    return found.transpose(1, 2)
