"""What models need, from their configuration alone, against models that torch builds without memory."""

import json
from io import StringIO

import pytest
from django.core.management import call_command

from core.gpus import NoGpu, find_gpus
from inference.catalogue import OFFERS
from inference.weights.memory import PUBLISHED, for_people, read_architecture
from inference.worker import device
from inference.worker.device import DeviceMemory, read_device_memory
from tests.inference.weights.sizes import SIZES

# Beside the shape of each architecture: what its configuration may say of heads, biases and the output head.
VARIANTS = [
    {"model_type": "gemma3_text", "head_dim": 32},
    {"model_type": "llama"},
    {"model_type": "llama", "tie_word_embeddings": True, "attention_bias": True, "mlp_bias": True},
    {"model_type": "llama", "head_dim": 8, "num_key_value_heads": None},
    {"model_type": "mistral", "head_dim": 32, "sliding_window": 32},
    {"model_type": "qwen2"},
    {"model_type": "qwen2", "tie_word_embeddings": True},
    {"model_type": "qwen3", "attention_bias": True},
    {"model_type": "granite", "tie_word_embeddings": True},
    {"model_type": "olmo2", "pad_token_id": 0},
    {"model_type": "phi3", "pad_token_id": 0},
    {"model_type": "smollm3", "pad_token_id": 0},
]


def build_on_meta(config):
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(AutoConfig.for_model(**config))


@pytest.mark.slow
@pytest.mark.parametrize("key", PUBLISHED)
def test_the_parameters_are_those_of_the_model_that_torch_builds(key):
    from benchmarks.random_weights import config_of  # imports torch

    model = build_on_meta(config_of(key))
    assert sum(parameter.numel() for parameter in model.parameters()) == PUBLISHED[key].parameters


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_the_parameters_of_every_architecture_are_read_from_its_configuration(tmp_path, variant):
    config = SIZES | variant
    (tmp_path / "config.json").write_text(json.dumps(config))
    model = build_on_meta(config)
    assert read_architecture(tmp_path).parameters == sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.slow
def test_a_file_that_leaves_out_what_is_usual_is_read_as_transformers_reads_it(tmp_path):
    """As that of Gemma 3 4B: its vocabulary and its heads are those of the class."""
    text = {"model_type": "gemma3_text", "hidden_size": 2560, "intermediate_size": 10240, "num_hidden_layers": 34}
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gemma3", "text_config": text}))
    assert read_architecture(tmp_path) == PUBLISHED["gemma-3-4b"]
    model = build_on_meta(text)
    assert sum(parameter.numel() for parameter in model.parameters()) == PUBLISHED["gemma-3-4b"].parameters


@pytest.mark.slow
@pytest.mark.parametrize("name", ["LlamaForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM"])
def test_a_model_in_8_bits_is_as_large_as_its_matrices_and_what_stays_wide(tiny_models, name):
    """An output head of its own takes the place of the one that was loaded; a tied one comes on top."""
    from inference.engine.loading import load_language_model
    from inference.engine.precision import can_int8

    if not can_int8():
        pytest.skip("this processor has no AVX2")
    model, architecture = load_language_model(tiny_models[name], "int8"), read_architecture(tiny_models[name])
    embedding = model.model.embed_tokens.table.numel() * 2
    matrices = 0
    for layer in model.model.layers:
        for matrix in (layer.qkv, layer.out, layer.gate_up, layer.down):
            matrices += packed_bytes(matrix)
    head = sum(packed_bytes(part) for part in model.lm_head._slices)
    held = embedding + matrices + head
    assert held <= architecture.weight_bytes("int8") < held + 4 * architecture.norm_parameters + head + 1


def packed_bytes(matrix):
    import torch

    weight, _bias = torch.ops.quantized.linear_unpack(matrix._packed)
    return weight.numel()


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
    assert PUBLISHED["gemma-3-4b"].parameters == 3_880_263_168
    assert PUBLISHED["gemma-3-12b"].parameters == 11_766_034_176
    assert PUBLISHED["gemma-3-27b"].parameters == 27_009_346_304
    assert PUBLISHED["smollm2-135m"].parameters == 134_515_008
    assert set(PUBLISHED) == {offer.key for offer in OFFERS}


def test_the_folder_of_the_demo_model_says_what_was_published(demo_folder):
    assert read_architecture(demo_folder) == PUBLISHED["gemma-3-270m"]


def test_of_a_multimodal_model_the_language_part_is_read(tiny_models):
    names = ("Gemma3ForCausalLM", "Gemma3ForConditionalGeneration")
    text, whole = (read_architecture(tiny_models[name]) for name in names)
    assert text == whole


@pytest.mark.parametrize(
    "content",
    ["", "[]", '{"text_config": 1}', "{}", '{"model_type": "llama", "vocab_size": 1}', '{"model_type": "gpt2"}'],
)
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
