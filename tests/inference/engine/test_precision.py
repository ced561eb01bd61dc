"""What a CPU computes in 8 bits is close to float32, does not depend on the batch, and is chosen where it can run."""

import shutil
import sys
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file

from benchmarks.perplexity import perplexity
from inference.engine import checkpoint, loading, precision
from inference.engine.base import EngineError, EngineRequest, Sampling
from inference.engine.checkpoint import CheckpointError
from inference.engine.cpu import int8_layers, kernels
from inference.engine.cpu.int8 import HEAD_ROWS, LARGEST, Int8Head, Int8Linear, largest_activation
from inference.engine.cpu.int8_layers import Int8Layer
from inference.engine.precision import can_int8, choose_precision
from tests.inference.engine.asking import tokens_of
from tests.inference.engines import begin
from tests.inference.tiny_models import FURTHER, OTHERS, make_tiny_model

pytestmark = pytest.mark.slow
needs_int8 = pytest.mark.skipif(not can_int8(), reason="this processor has no AVX2")


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def error(got, wanted):
    return float((got - wanted).norm() / wanted.norm())


def most_error():
    """Of a product: activations of 7 bits are rounded twice as coarsely."""
    return 0.015 if largest_activation() == LARGEST else 0.02


@needs_int8
@pytest.mark.parametrize("rows", [64, 3 * HEAD_ROWS + 128])
def test_int8_products_are_close_to_exact_ones(rows):
    weight, x = random(rows, 640) * 0.02, random(5, 640, seed=1)
    assert error(Int8Head(weight)(x), x @ weight.T) < most_error()
    bias = random(rows, seed=2)
    assert error(Int8Linear(weight, bias)(x.view(5, 1, 640))[:, 0], x @ weight.T + bias) < most_error()


def unmixed(rows, group=128):
    """Rows that become `rows` when groups of their columns are mixed."""
    result = rows.clone()
    for row in result.numpy():
        kernels.mix(row, group)
    return result / group


@needs_int8
def test_sums_are_exact_at_the_largest_numbers():
    """Where two products of a pair of bytes do not fit the processor's sum, it would cut them off."""
    weight, x = random(64, 640).sign(), random(5, 640, seed=1).sign()
    for rows, tokens in ((weight, x), (weight.abs(), x.abs())):  # what is rounded are their largest numbers
        exact = (unmixed(tokens).double() @ unmixed(rows).double().T).float()
        assert torch.allclose(Int8Linear(unmixed(rows))(unmixed(tokens)), exact, rtol=1e-5, atol=1e-5)


@needs_int8
def test_one_large_column_does_not_drown_the_others():
    weight, x = random(256, 640) * 0.02, random(5, 640, seed=1)
    x[:, 77] = 300.0
    step = x.abs().amax(-1, keepdim=True) / largest_activation()
    unmixed_error = error((x / step).round() * step @ weight.T, x @ weight.T)
    mixed_error = error(Int8Linear(weight)(x), x @ weight.T)
    assert mixed_error < most_error()
    assert unmixed_error > 1.5 * mixed_error


@needs_int8
def test_a_token_computes_the_same_in_any_company():
    layer, x = Int8Linear(random(640, 640) * 0.02), random(32, 640, seed=1)
    together = layer(x * torch.arange(1, 33).unsqueeze(1))
    for row in (0, 7, 31):
        assert torch.equal(layer((row + 1) * x[row : row + 1])[0], together[row])


@needs_int8
def test_a_row_of_zeros_and_a_row_that_is_no_number_stay_alone():
    layer, x = Int8Linear(random(640, 640) * 0.02), random(3, 640, seed=1)
    alone = layer(x)[2]
    x[0], x[1, 5] = 0.0, float("nan")
    result = layer(x)
    assert result[0].eq(0).all()
    assert result[1].isnan().all()
    assert torch.equal(result[2], alone)


@needs_int8
def test_int8_costs_less_than_two_percent_of_perplexity(demo_folder):
    exact = perplexity(demo_folder, "float32", max_tokens=200)
    assert perplexity(demo_folder, "int8", max_tokens=200) < 1.02 * exact


def test_auto_takes_int8_only_where_the_processor_has_it(monkeypatch):
    monkeypatch.setattr(precision, "can_int8", lambda: True)
    assert choose_precision("auto", "cpu") == "int8"
    assert choose_precision("float32", "cpu") == "float32"
    monkeypatch.setattr(precision, "can_int8", lambda: False)
    assert choose_precision("auto", "cpu") == "float32"
    with pytest.raises(EngineError, match="int8"):
        choose_precision("int8", "cpu")
    with pytest.raises(EngineError, match="GPU"):
        choose_precision("int4", "cpu")


def test_a_gpu_computes_in_bfloat16_unless_told_otherwise():
    assert choose_precision("auto", "cuda") == "bfloat16"
    assert choose_precision("int4", "cuda") == "int4"
    assert loading.gpu_options("bfloat16") == {"dtype": torch.bfloat16, "device_map": "auto"}
    assert loading.gpu_options("float32")["dtype"] == torch.float32


def test_few_bits_on_a_gpu_need_the_package_for_them(monkeypatch):
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(EngineError, match="bitsandbytes"):
        loading.gpu_options("int8")
    monkeypatch.setitem(sys.modules, "bitsandbytes", SimpleNamespace())
    assert loading.gpu_options("int8")["quantization_config"].load_in_8bit
    assert loading.gpu_options("int4")["quantization_config"].load_in_4bit


ARCHITECTURES = ["Gemma3ForCausalLM", "Gemma3ForConditionalGeneration", *OTHERS]


@pytest.fixture(scope="module", params=ARCHITECTURES)
def both_ways(request, tiny_models):
    """The engine and the library's own model on the same weights, in float32."""
    from inference.engine.batching import BatchingEngine

    engine = BatchingEngine(tiny_models[request.param], precision="float32", ignores_stop_tokens=True)
    yield engine, loading.load_language_model(tiny_models[request.param], "float32")
    engine.close()


@pytest.mark.parametrize("prompt_tokens", [1, 20, 31, 32, 33, 700])
def test_attention_of_each_request_alone_agrees_with_the_librarys(both_ways, prompt_tokens):
    """Prompts shorter and longer than the window (32) and than a step (512), in company, against `generate`."""
    engine, model = both_ways
    prompt = [2, *random(prompt_tokens - 1, seed=prompt_tokens).mul(9).abs().add(500).int().tolist()]
    wanted = greedy_tokens(model, prompt, engine._vocabulary)
    company = EngineRequest(f"company-{prompt_tokens}", [2, 600, 601], 4000, Sampling(seed=1))
    begin(engine, company)
    tokens = tokens_of(engine, EngineRequest(f"asks-{prompt_tokens}", prompt, 40, Sampling(temperature=0.0)))
    engine.cancel(company.id)
    assert tokens == wanted


def greedy_tokens(model, prompt, vocabulary):
    """The 40 best of transformers' own `generate`, among the tokens that the tokenizer has."""
    model.generation_config.eos_token_id = None
    ids = model.generate(
        torch.tensor([prompt]),
        max_new_tokens=40,
        do_sample=False,
        pad_token_id=0,
        suppress_tokens=list(range(vocabulary, model.config.vocab_size)) or None,
    )
    return ids[0, len(prompt) :].tolist()


@pytest.fixture(params=FURTHER)
def further_model(request, tmp_path, monkeypatch):
    """A tiny model of an architecture whose layers are the library's own on a CPU too."""
    kind = FURTHER[request.param]["model_type"]
    monkeypatch.setattr(checkpoint, "TEXT_ARCHITECTURES", checkpoint.TEXT_ARCHITECTURES | {kind})
    make_tiny_model(request.param, tmp_path, tmp_path)
    return tmp_path


def test_further_architectures_write_what_generate_does(further_model):
    from inference.engine.batching import BatchingEngine

    engine = BatchingEngine(further_model, precision="float32", cache_tokens=4_096, ignores_stop_tokens=True)
    model = loading.load_language_model(further_model, "float32")
    for tokens in (1, 33, 600):
        prompt = [2, *(random(tokens - 1, seed=tokens).mul(9).abs().add(500).int().tolist())]
        drawn = tokens_of(engine, EngineRequest(f"asks-{tokens}", prompt, 40, Sampling(temperature=0.0)))
        assert drawn == greedy_tokens(model, prompt, engine._vocabulary)
    engine.close()
    if can_int8():
        assert int8_error(further_model, model) < 0.1


def int8_error(folder, model):
    """How far the scores of a model in 8 bits are from those of the same in float32."""
    ids = torch.arange(3, 83).unsqueeze(0)
    with torch.no_grad():
        return error(loading.load_language_model(folder, "int8")(ids).logits, model(ids).logits)


@needs_int8
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_scores_in_int8_are_near_those_in_float32_on_each_architecture(tiny_models, name):
    ids = torch.arange(3, 83).unsqueeze(0)
    with torch.no_grad():
        exact = loading.load_language_model(tiny_models[name], "float32")(ids).logits
        model = loading.load_language_model(tiny_models[name], "int8")
        near = model(ids).logits
    assert sum(isinstance(layer, Int8Layer) for layer in model.model.layers) == 3
    assert error(near, exact) < 0.1


@needs_int8
def test_layers_of_another_kind_keep_the_librarys_code_around_8_bit_products(tiny_models, monkeypatch):
    monkeypatch.setattr(int8_layers, "KINDS", {})
    ids = torch.arange(3, 83).unsqueeze(0)
    with torch.no_grad():
        exact = loading.load_language_model(tiny_models["Qwen3ForCausalLM"], "float32")(ids).logits
        model = loading.load_language_model(tiny_models["Qwen3ForCausalLM"], "int8")
        near = model(ids).logits
    kinds = [type(module).__name__ for module in model.model.layers.modules()]
    assert (kinds.count("Int8Linear"), kinds.count("Linear"), kinds.count("Int8Layer")) == (3 * 7, 0, 0)
    assert error(near, exact) < 0.1


def test_a_checkpoint_that_lacks_a_weight_is_refused(tiny_models, tmp_path):
    """The library would fill it with random numbers."""
    folder = shutil.copytree(tiny_models["Qwen2ForCausalLM"], tmp_path / "torn")
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"not whole: model\.layers\.1\.mlp\.up_proj\.weight is missing"):
        loading.load_language_model(folder, "float32")
