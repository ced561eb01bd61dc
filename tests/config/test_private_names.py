"""Private names of libraries that we use: when an upgrade takes one away, this fails with its name."""

import ast
import importlib
import inspect
import subprocess
from pathlib import Path

import pytest
from django.conf import settings

BATCHING = "transformers.generation.continuous_batching"

# Where each name is defined: a module or a class, and the name. Instances get some of them in `__init__`.
DEFINED = [
    ("rest_framework.request:Request", "_request"),
    ("django.db.models.base:ModelBase", "_base_manager"),
    ("drf_spectacular.openapi:AutoSchema", "_get_filter_parameters"),
    ("drf_spectacular.openapi:AutoSchema", "_is_list_view"),
    ("drf_spectacular.openapi:AutoSchema", "_map_basic_serializer"),
    (f"{BATCHING}.continuous_api:ContinuousBatchingManager", "_wake_up_loop"),
    (f"{BATCHING}.continuous_api:ContinuousBatchingManager", "_create_batch_processor"),
    (f"{BATCHING}.model_runner:ModelRunner", "_sample"),
    (f"{BATCHING}.input_outputs:ContinuousBatchingIOs", "_get_graph_key"),
    (f"{BATCHING}.cache_allocators.full_attention", "_kv_token_views"),
    ("transformers:PreTrainedConfig", "_attn_implementation"),
    ("torch.cpu", "_is_vnni_supported"),
    ("torch", "_make_per_channel_quantized_tensor"),
    ("torch._ops:OpOverload", "_op"),
]
OURS = ["core", "accounts", "billing", "inference", "chat", "monitoring", "backoffice", "config"]


@pytest.mark.parametrize(("place", "name"), DEFINED, ids=lambda value: value.rpartition(":")[2])
def test_a_private_name_is_still_there(place, name):
    module_name, _colon, class_name = place.partition(":")
    found = importlib.import_module(module_name)
    if class_name:
        found = getattr(found, class_name)
    assert hasattr(found, name) or name in inspect.getsource(found), f"{place} has no {name} any more"


def test_every_private_name_that_we_use_is_in_the_list():
    """Ruff has each marked (SLF001); the methods of others that we override begin with one underscore too."""
    listed = {name for _place, name in DEFINED}
    used = set()
    for file in subprocess.check_output(["git", "ls-files", "*.py"], cwd=settings.BASE_DIR, text=True).split():
        if file.split("/")[0] not in OURS:
            continue
        text = (Path(settings.BASE_DIR) / file).read_text()
        marked = {number for number, line in enumerate(text.splitlines(), 1) if "SLF001" in line}
        used |= {
            node.attr
            for node in ast.walk(ast.parse(text))
            if isinstance(node, ast.Attribute) and node.attr.startswith("_") and node.lineno in marked
        }
    assert used - listed == set()
    assert len(used) > 8
