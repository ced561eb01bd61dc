"""What models need, from their configuration alone, against models that torch builds without memory."""

import json
from io import StringIO

import pytest
from django.core.management import call_command

from inference import device
from inference.catalogue import OFFERS
from inference.device import DeviceMemory, NoGpu, find_gpus, read_device_memory
from inference.model_memory import PUBLISHED, for_people, read_architecture


def build_on_meta(architecture):
    import torch
    from transformers import Gemma3ForCausalLM, Gemma3TextConfig

    with torch.device("meta"):
        return Gemma3ForCausalLM(
            Gemma3TextConfig(
                vocab_size=architecture.vocabulary,
                hidden_size=architecture.hidden,
                intermediate_size=architecture.intermediate,
                num_hidden_layers=architecture.layers,
                num_attention_heads=architecture.heads,
                num_key_value_heads=architecture.kv_heads,
                head_dim=architecture.head_dim,
            )
        )


@pytest.mark.slow
@pytest.mark.parametrize("key", PUBLISHED)
def test_the_parameters_are_those_of_the_model_that_torch_builds(key):
    model = build_on_meta(PUBLISHED[key])
    assert sum(parameter.numel() for parameter in model.parameters()) == PUBLISHED[key].parameters


@pytest.mark.slow
def test_the_weights_are_as_large_as_those_of_the_loaded_demo_model(demo_folder):
    from inference.engine.loading import load_language_model

    model = load_language_model(demo_folder, "float32")
    loaded = sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
    assert read_architecture(demo_folder).weight_bytes("float32") == loaded


@pytest.mark.slow
def test_the_cache_is_as_large_as_the_one_that_the_batcher_allocates(demo_folder):
    from inference.engine.base import EngineRequest, Sampling
    from inference.engine.batching import BatchingEngine

    engine = BatchingEngine(demo_folder, precision="float32", cache_tokens=16_384)
    engine.write(EngineRequest("one", [2, 9259], 1, Sampling()), lambda delta: None)
    cache = engine._manager.batch_processor.cache
    allocated = cache.num_sectors * cache.bytes_per_sector
    engine.close()
    assert read_architecture(demo_folder).cache_bytes("float32", 16_384) == pytest.approx(allocated, rel=0.02)


def test_published_numbers_are_those_of_google():
    """Parameters as the hub counts them for the two text models; 12B's language model is 12.2e9 less its vision."""
    assert PUBLISHED["gemma-3-1b"].parameters == 999_885_952
    assert PUBLISHED["gemma-3-270m"].parameters == 268_098_176
    assert PUBLISHED["gemma-3-12b"].parameters == 11_766_034_176
    assert set(PUBLISHED) == {offer.key for offer in OFFERS}


def test_the_folder_of_the_demo_model_says_what_was_published(demo_folder):
    assert read_architecture(demo_folder) == PUBLISHED["gemma-3-270m"]


def test_of_a_multimodal_model_the_language_part_is_read(tiny_models):
    text, whole = (read_architecture(folder) for folder in tiny_models.values())
    assert text == whole


@pytest.mark.parametrize("content", ["", "[]", '{"text_config": 1}', "{}", '{"model_type": "llama", "vocab_size": 1}'])
def test_a_configuration_that_is_none_is_refused(tmp_path, content):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises((ValueError, KeyError)):
        read_architecture(tmp_path)


def test_12b_needs_a_large_gpu_and_in_4_bits_a_small_one():
    architecture = PUBLISHED["gemma-3-12b"]
    assert 36e9 < architecture.total_bytes("bfloat16", 32_768) < 37e9
    assert architecture.total_bytes("int4", 8_192) < 12e9
    sizes = [architecture.weight_bytes(precision) for precision in ("float32", "bfloat16", "int8", "int4")]
    assert sizes == sorted(sizes, reverse=True)


def test_the_command_prints_every_model_and_that_there_is_no_gpu(catalogue):
    out = StringIO()
    call_command("model_memory", stdout=out)
    text = out.getvalue()
    assert "gemma-3-12b     bfloat16       23.5 GB   12.9 GB   36.7 GB  published" in text
    assert "gemma-3-270m    float32         1.1 GB    1.2 GB    2.5 GB  its folder" in text
    try:
        find_gpus()
    except NoGpu:
        assert "No NVIDIA GPU here (NVML" in text


def test_the_command_gives_bytes_as_json_also_for_a_model_nobody_knows(catalogue):
    type(catalogue).objects.create(
        key="ours", name="Ours", source="us/ours", context_tokens=100, max_completion_tokens=10
    )
    out = StringIO()
    call_command("model_memory", "--json", stdout=out)
    report = json.loads(out.getvalue())
    models = {model["key"]: model for model in report["models"]}
    assert models["gemma-3-1b"]["precisions"]["bfloat16"]["weight_bytes"] == 2 * 999_885_952
    assert models["gemma-3-1b"]["precisions"]["bfloat16"]["cache_bytes_per_token"] == 2 * 26 * 256 * 2
    assert models["ours"]["configuration"].startswith("unknown")
    assert report["budget_bytes"] > 0
    assert report["gpus"] or report["no_gpu_because"]


def test_a_container_may_have_less_than_the_machine(tmp_path, monkeypatch):
    whole = read_device_memory()
    monkeypatch.setattr(device, "CGROUP", tmp_path)
    assert device._read_machine().total_bytes >= whole.total_bytes
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("600000000\n")
    (tmp_path / "memory.stat").write_text("anon 1\ninactive_file 100000000\n")
    assert device._read_machine().total_bytes >= whole.total_bytes
    (tmp_path / "memory.max").write_text("1000000000\n")
    assert device._read_machine() == DeviceMemory("cpu", 1_000_000_000, 500_000_000)


def test_sizes_for_people_have_one_digit():
    assert [for_people(size) for size in (0, 12_400_000, 999_999_999, 23_532_068_352)] == [
        "0 MB",
        "12 MB",
        "1000 MB",
        "23.5 GB",
    ]
