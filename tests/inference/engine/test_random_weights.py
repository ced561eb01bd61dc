"""Checkpoints of noise for measuring speed: they have the real shapes, load like any other, and fit or are refused."""

import json
import shutil
from types import SimpleNamespace

import psutil
import pytest
import torch

from inference.engine.base import EngineRequest, Sampling
from inference.weights.memory import PUBLISHED, read_architecture
from tests.inference.engines import write
from tests.inference.weights.sizes import SIZES

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("kind", ["gemma3_text", "qwen2"])
def test_noise_in_several_files_loads_and_answers_at_full_length(tmp_path, monkeypatch, kind):
    from benchmarks import random_weights
    from inference.engine.batching import BatchingEngine

    monkeypatch.setattr(random_weights, "SHARD_BYTES", 50_000)
    config = tmp_path / "config.json"
    config.write_text(json.dumps(SIZES | {"model_type": kind, "head_dim": 16, "tie_word_embeddings": True}))
    with random_weights.random_checkpoint(str(config)) as folder:
        assert len(list(folder.glob("*.safetensors"))) > 2
        engine = BatchingEngine(folder, precision="float32", cache_tokens=2_048, ignores_stop_tokens=True)
        deltas = write(engine, EngineRequest("noise", [5, 6], 20, Sampling(seed=1)))
        engine.close()
    assert (deltas[-1].finish_reason, deltas[-1].completion_tokens) == ("length", 20)
    assert "word" in "".join(delta.text for delta in deltas)
    assert not folder.exists()


@pytest.mark.parametrize("key", PUBLISHED)
def test_the_shapes_of_a_published_model_are_its_own(tmp_path, key):
    from benchmarks.random_weights import config_of

    (tmp_path / "config.json").write_text(json.dumps(config_of(key)))
    assert read_architecture(tmp_path) == PUBLISHED[key]


def test_a_model_that_does_not_fit_is_refused_before_anything_is_written(tmp_path, monkeypatch):
    from benchmarks import random_weights

    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=20 * 10**9))
    monkeypatch.setattr(shutil, "disk_usage", lambda _folder: SimpleNamespace(free=10**12))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(random_weights, "choose_precision", lambda _wanted, _device: "int8")
    random_weights.demand_room(PUBLISHED["gemma-3-1b"], tmp_path)
    with pytest.raises(random_weights.NotEnoughRoom, match=r"needs 37\.\d GB of memory, and 20\.0 GB are free"):
        random_weights.demand_room(PUBLISHED["gemma-3-12b"], tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _folder: SimpleNamespace(free=10**9))
    with pytest.raises(random_weights.NotEnoughRoom, match=r"weights take 2\.0 GB, and .* has 1\.0 GB free"):
        random_weights.demand_room(PUBLISHED["gemma-3-1b"], tmp_path)


def test_a_name_that_is_no_model_is_refused():
    from benchmarks.random_weights import config_of

    with pytest.raises(ValueError, match=r"neither one of gemma-3-270m, .* nor a file"):
        config_of("gemma-9")


def test_a_step_reads_all_but_the_embedding():
    from benchmarks.random_weights import bytes_read_a_step

    small = PUBLISHED["smollm2-135m"]
    assert bytes_read_a_step(small, "bfloat16") == 2 * (small.parameters - small.norm_parameters)
    assert bytes_read_a_step(small, "int8") == small.parameters - small.norm_parameters
