"""Models in a worker: what does not load costs nothing, says why and comes back; two share a budget of one."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from django.utils import timezone

from inference.catalogue import DEMO_KEY
from inference.engine.fake import FakeEngine
from inference.generations.endings import hand_back_generation, stop_generation
from inference.models import CatalogueModel, Generation, GenerationState
from inference.relay import streams
from inference.weights.memory import read_architecture
from inference.worker import status
from inference.worker.contracts import ModelSource
from tests.inference.asking import COMPLETION, PROMPT, ask, charge, in_thread, wait_for
from tests.inference.engines import give_engine
from tests.inference.working import REAL_ENGINE
from tests.support.cast import at_once, begin
from tests.support.databases.queue import forget_tickets
from tests.support.databases.redis_admin import admin

pytestmark = pytest.mark.django_db(transaction=True)


def copy_of(folder, target):
    """A model's folder with its large files linked, to be damaged."""
    target.mkdir(parents=True)
    for file in folder.iterdir():
        (target / file.name).symlink_to(file)
    return target


def replace(file, content):
    file.unlink()
    file.write_bytes(content)


DAMAGES = {
    "gone": (shutil.rmtree, "not on this machine"),
    "half": (lambda folder: (folder / "model.safetensors").unlink(), r"not whole: \*.safetensors missing"),
    "no configuration": (lambda folder: replace(folder / "config.json", b"{"), "config.json cannot be read"),
    "cut weights": (
        lambda folder: replace(folder / "model.safetensors", b"\x10\0\0\0\0\0\0\0{}"),
        "cannot be read .*prepare_models",
    ),
    "no tokenizer": (lambda folder: replace(folder / "tokenizer.json", b"not json"), "cannot be read"),
}


@pytest.mark.slow
@pytest.mark.parametrize("damage", DAMAGES)
def test_weights_that_do_not_load_say_why_and_cost_nothing(
    alice, catalogue, work, settings, tmp_path, tiny_models, damage, faults
):
    generations = [ask(alice, catalogue) for _ in range(3)]
    folder = copy_of(tiny_models["Gemma3ForCausalLM"], tmp_path / "models" / DEMO_KEY)
    spoil, reason = DAMAGES[damage]
    spoil(folder)
    work(MODEL_DIR=tmp_path / "models", INFERENCE_ENGINE=REAL_ENGINE).serve(generations[0].model_id)
    catalogue.refresh_from_db()
    assert not catalogue.is_available
    for generation in generations:  # those that still waited in the queue have ended with the first
        generation.refresh_from_db()
        assert (generation.state, generation.error) == (GenerationState.FAILED, catalogue.unavailable_reason)
        assert [chunk[1].get("state") for chunk in streams.connection().xrange(f"generation:{generation.pk}")][-1] == (
            "failed"
        )
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(catalogue.unavailable_reason)
    assert charge(alice) == (0, 0)
    assert faults() == []


def test_a_model_that_did_not_load_is_tried_again_and_then_available(alice, catalogue, work, settings, tmp_path):
    real = settings.MODEL_DIR
    worker = work(MODEL_DIR=tmp_path, MODEL_RETRY_SECONDS=0.2)
    generation = ask_with(real, alice, catalogue, settings)
    settings.MODEL_DIR = tmp_path
    worker.serve(generation.model_id)
    assert "not on this machine" in row(catalogue).unavailable_reason
    worker.try_unavailable([DEMO_KEY])
    assert worker.models.failures()  # its pause is not over
    settings.MODEL_DIR = real
    wait_for(lambda: worker.models.is_due(DEMO_KEY))
    worker.try_unavailable(["gemma-3-1b"])
    assert not row(catalogue).is_available  # another worker's model
    worker.try_unavailable([DEMO_KEY])
    assert row(catalogue).is_available
    generation = ask(alice, row(catalogue), max_tokens=3)
    worker.serve(generation.model_id)
    generation.refresh_from_db()
    assert generation.state == GenerationState.COMPLETED


def ask_with(model_dir, user, model, settings):
    settings.MODEL_DIR = model_dir
    return ask(user, model)


def row(model):
    return CatalogueModel.objects.get(pk=model.pk)


def test_a_model_too_large_for_the_machine_says_what_it_needs(alice, catalogue, work, faults):
    generation = ask(alice, catalogue)
    work(MODEL_MEMORY_BYTES=1_000_000_000, INFERENCE_PRECISION="float32").serve(generation.model_id)
    generation.refresh_from_db()
    assert generation.error.startswith("It needs 2.5 GB of memory for its weights and cache; 1.0 GB can be had")
    assert row(catalogue).unavailable_reason == generation.error
    assert charge(alice) == (0, 0)
    assert faults() == []


def test_a_model_that_another_worker_answers_with_stays_available(alice, catalogue, work, tmp_path, settings):
    there = work()
    there.name = "gpu@there"
    give_engine(there, FakeEngine())
    status.write_worker(there.status())
    first, second = ask(alice, catalogue), ask(alice, catalogue)
    here = work(MODEL_DIR=tmp_path)
    here.seats.count = 1
    here.serve(first.model_id)
    first.refresh_from_db()
    second.refresh_from_db()
    assert (first.state, second.state) == (GenerationState.FAILED, GenerationState.QUEUED)
    assert row(catalogue).is_available
    there.serve(second.model_id)
    status.forget_worker("gpu@there")
    second.refresh_from_db()
    assert second.state == GenerationState.COMPLETED


def test_preloading_is_done_when_it_returns_and_a_model_that_fails_is_marked(catalogue, work, settings, tmp_path):
    CatalogueModel.objects.filter(key="gemma-3-1b").update(unavailable_reason="", prompt_format="transcript")
    worker = work()
    worker.preload([DEMO_KEY, "gemma-3-1b"])
    assert worker.models.is_ready(DEMO_KEY)
    assert "not on this machine" in CatalogueModel.objects.get(key="gemma-3-1b").unavailable_reason


def test_stop_while_the_model_waits_for_room_leaves_at_once_and_costs_nothing(alice, catalogue, work, faults):
    worker = work(MODEL_MEMORY_BYTES=3_000_000_000)
    CatalogueModel.objects.filter(key="gemma-3-1b").update(unavailable_reason="", prompt_format="transcript")
    worker.models.adopt(ModelSource("gemma-3-1b", "x"), FakeEngine(), 2_000_000_000)
    with worker.models.lease(ModelSource("gemma-3-1b", "x")):
        generation = ask(alice, catalogue)
        thread = in_thread(worker.serve, generation.model_id)
        wait_for(lambda: any(model.waiting for model in worker.models.loaded_models()))
        stop_generation(generation=generation)
        thread.join(timeout=1)
        assert not thread.is_alive()
    generation.refresh_from_db()
    assert generation.state == GenerationState.CANCELLED
    assert charge(alice) == (0, 0)
    assert faults() == []


def test_an_answer_that_waited_too_long_for_its_model_is_failed_not_cancelled(alice, catalogue, work, faults):
    worker = work(MODEL_MEMORY_BYTES=3_000_000_000, GENERATION_SECONDS=0.1, HEARTBEAT_SECONDS=0.05)
    worker.models.adopt(ModelSource("gemma-3-1b", "x"), FakeEngine(), 2_000_000_000)
    with worker.models.lease(ModelSource("gemma-3-1b", "x")):
        generation = ask(alice, catalogue)
        worker.serve(generation.model_id)
    generation.refresh_from_db()
    assert (generation.state, generation.error) == (GenerationState.FAILED, "It took too long.")
    assert charge(alice) == (0, 0)
    assert faults() == []


@pytest.mark.slow
def test_both_architectures_alternate_in_a_budget_of_one_and_each_is_charged_right(
    alice, charlie, catalogue, work, settings, tmp_path, tiny_models, faults
):
    small, large = tiny_models["Gemma3ForCausalLM"], tiny_models["Gemma3ForConditionalGeneration"]
    copy_of(small, tmp_path / DEMO_KEY)
    copy_of(large, tmp_path / "gemma-3-12b")
    need = read_architecture(small).total_bytes("float32", 4_096, on_cpu=True)
    worker = work(
        MODEL_DIR=tmp_path,
        INFERENCE_ENGINE=REAL_ENGINE,
        INFERENCE_PRECISION="float32",
        INFERENCE_CACHE_TOKENS=4_096,
        MODEL_MEMORY_BYTES=int(1.5 * need),
        MODEL_TURN_SECONDS=0.2,
    )
    CatalogueModel.objects.update(unavailable_reason="")
    models = {key: CatalogueModel.objects.get(key=key) for key in (DEMO_KEY, "gemma-3-12b")}
    asked = [
        ask(user, models[key], max_tokens=8)
        for user, key in zip((alice, charlie) * 3, (DEMO_KEY, DEMO_KEY, "gemma-3-12b") * 2, strict=True)
    ]
    most = []
    for generation in asked[:4]:  # one after the other: each change of model unloads the other
        worker.serve(generation.model_id)
        most.append(sum(model.memory_bytes for model in worker.models.loaded_models()))
    at_once(2, lambda n: worker.serve(asked[4 + n].model_id))
    assert set(most) == {need}
    paid = {alice.pk: 0, charlie.pk: 0}
    prices = {DEMO_KEY: (PROMPT, COMPLETION), "gemma-3-12b": (1000, 2000)}
    for generation in asked:
        generation.refresh_from_db()
        assert generation.state == GenerationState.COMPLETED, generation.error
        assert 1 <= generation.completion_tokens <= 8
        prompt, completion = prices[generation.model_id]
        paid[generation.user_id] += generation.prompt_tokens * prompt + generation.completion_tokens * completion
    assert {alice.pk: charge(alice), charlie.pk: charge(charlie)} == {pk: (spent, 0) for pk, spent in paid.items()}
    assert faults() == []


OUT_OF_MEMORY = """
import resource, sys
import django
django.setup()
import torch
from django.conf import settings
from pathlib import Path
from inference.engine import batching
from inference.worker.contracts import LoadFailed, ModelSource
from inference.worker.loader import CatalogueLoader
settings.MODEL_DIR = Path(sys.argv[1])
settings.INFERENCE_ENGINE = "inference.engine.batching.BatchingEngine"
settings.INFERENCE_CACHE_TOKENS = 2_000_000
used = int(open("/proc/self/statm").read().split()[0]) * 4096
resource.setrlimit(resource.RLIMIT_AS, (used + 1_200_000_000, resource.RLIM_INFINITY))
try:
    CatalogueLoader().load(ModelSource("gemma-3-270m", "x"))
except LoadFailed as error:
    print("said:", error)
"""


@pytest.mark.slow
def test_memory_that_runs_out_while_loading_is_said_plainly(demo_folder):
    done = subprocess.run(
        [sys.executable, "-c", OUT_OF_MEMORY, str(demo_folder.parent)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=Path(__file__).parents[3],
    )
    assert "said: The machine ran out of memory while loading it." in done.stdout, done.stdout + done.stderr


LOAD_AND_UNLOAD = """
import json, sys, time
import django
django.setup()
import psutil
from django.conf import settings
from inference.engine.base import EngineRequest, Sampling
from inference.worker.contracts import ModelSource
from inference.worker.manager import ModelManager
from inference.worker.loader import CatalogueLoader
from pathlib import Path
settings.MODEL_DIR = Path(sys.argv[1])
settings.INFERENCE_ENGINE = "inference.engine.batching.BatchingEngine"
settings.MODEL_IDLE_SECONDS = 0.001
class Nobody:
    def model_loaded(self, model): pass
    def model_failed(self, model, reason): print(reason, file=sys.stderr)
loader = CatalogueLoader()
manager = ModelManager(loader=loader, limits=loader.limits(), listener=Nobody())
sizes = []
for number in range(int(sys.argv[2])):
    with manager.lease(ModelSource("tiny", "x")) as engine:
        engine.write(EngineRequest(str(number), [2, 92], 3, Sampling()), lambda delta: None)
    del engine
    time.sleep(0.01)
    manager.unload_idle()
    assert manager.loaded_models() == []
    sizes.append(psutil.Process().memory_info().rss)
print(json.dumps(sizes))
"""


@pytest.fixture
def quick_model(tmp_path):
    """A MODEL_DIR with `tiny`: 40 MB, a vocabulary of 8,192 words, a tokenizer that loads in no time."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from transformers import Gemma3ForCausalLM, Gemma3TextConfig

    architecture = Gemma3TextConfig(
        vocab_size=8_192,
        hidden_size=1_024,
        intermediate_size=256,
        num_hidden_layers=3,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        layer_types=["sliding_attention", "sliding_attention", "full_attention"],
    )
    Gemma3ForCausalLM(architecture).save_pretrained(tmp_path / "tiny")
    words = {f"word{number}": number for number in range(8_192)}
    Tokenizer(WordLevel(words, unk_token="word3")).save(str(tmp_path / "tiny" / "tokenizer.json"))
    return tmp_path


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_loading_and_unloading_again_and_again_does_not_grow_the_process(quick_model):
    """One engine that stays is 45 MB. The first loadings fill caches of libraries.

    With an arena of memory for each thread, as glibc has by itself, the process grows by what lies free in them, for
    as many loadings as it takes until every thread has met every arena: no leak, and as large as one.
    """
    done = subprocess.run(
        [sys.executable, "-c", LOAD_AND_UNLOAD, str(quick_model), "25"],
        env={**os.environ, "MALLOC_ARENA_MAX": "1"},
        capture_output=True,
        text=True,
        timeout=550,
        check=False,
        cwd=Path(__file__).parents[3],
    )
    assert done.returncode == 0, done.stderr
    sizes = json.loads(done.stdout)
    print([size // 1_000_000 for size in sizes])
    assert max(sizes[5:]) < max(sizes[:5]) + 10_000_000


def test_handing_back_queues_it_again_and_only_for_who_claimed_it(alice, catalogue, faults):
    generation = ask(alice, catalogue)
    forget_tickets(catalogue)
    take = {"generation_id": generation.pk, "state": GenerationState.RUNNING}
    assert not hand_back_generation(**take)  # nobody has claimed it
    assert begin(generation)
    assert not hand_back_generation(generation_id=generation.pk, state=GenerationState.QUEUED)  # somebody else has
    assert admin().llen(catalogue.queue) == 0
    assert at_once(2, lambda _n: hand_back_generation(**take)).count(True) == 1
    assert admin().llen(catalogue.queue) == 1
    generation.refresh_from_db()
    assert (generation.state, generation.started_at, generation.hold.state) == ("queued", None, "active")
    Generation.objects.filter(pk=generation.pk).update(state=GenerationState.RUNNING, stop_requested_at=timezone.now())
    assert not hand_back_generation(**take)  # Stop was first
    forget_tickets(catalogue)
    assert faults() == []
